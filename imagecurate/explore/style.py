"""How everything inside ``class="ic"`` looks, in light and dark.

Which of the two follows the system, or the notebook's theme where it says what it is (JupyterLab, VS Code).
"""

from __future__ import annotations

__all__ = ["LOOKS"]

# Text and marks have a contrast of at least 4.5 to their ground: WCAG 2.2, 1.4.3.
_LIGHT = """
  --ic-ink: #1f2328; --ic-quiet: #59636e; --ic-line: #d1d9e0; --ic-ground: #fff; --ic-raised: #f6f8fa;
  --ic-bar: #3b76c4; --ic-bar-2: #b35c00; --ic-bar-3: #1a7f5a; --ic-bar-4: #8250df; --ic-mark: #c4342b;
"""
_DARK = """
  --ic-ink: #e6edf3; --ic-quiet: #9da7b1; --ic-line: #3d444d; --ic-ground: #0d1117; --ic-raised: #161b22;
  --ic-bar: #6ea8fe; --ic-bar-2: #f0a04b; --ic-bar-3: #4cc38a; --ic-bar-4: #b392f0; --ic-mark: #ff7b72;
"""

_RULES = """
.ic { color: var(--ic-ink); background: var(--ic-ground); font: 13px/1.4 system-ui, sans-serif; padding: .5rem;
  max-width: 100%; }
.ic h3, .ic h4 { font-size: 1em; font-weight: 600; margin: .8em 0 .3em; color: inherit; }
.ic p { margin: .3em 0; }
.ic .ic-quiet { color: var(--ic-quiet); }
.ic .ic-scroll { overflow-x: auto; }
.ic table { border-collapse: collapse; margin: .3em 0; background: none; color: inherit; font: inherit; }
.ic th, .ic td { text-align: left; vertical-align: top; white-space: normal; padding: .15em .8em .15em 0; border: 0;
  border-bottom: 1px solid var(--ic-line); background: none; color: inherit; overflow-wrap: anywhere; }
.ic th { font-weight: 600; overflow-wrap: break-word; }
.ic tbody th { font-weight: 400; }
.ic .ic-number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.ic .ic-tiles { display: flex; flex-wrap: wrap; gap: .6rem; align-items: flex-start; margin: .3em 0; padding: 0; }
.ic .ic-groups { display: flex; flex-wrap: wrap; gap: 0 1.6rem; }
.ic .ic-tile { margin: 0; width: 190px; background: var(--ic-raised); border: 1px solid var(--ic-line);
  border-radius: 6px; overflow: hidden; box-sizing: border-box; }
.ic .ic-tile.ic-kept { outline: 2px solid var(--ic-bar-3); }
.ic .ic-tile img { display: block; width: 100%; height: 150px; object-fit: contain; margin: 0;
  background: var(--ic-ground); }
.ic .ic-none { display: flex; height: 150px; align-items: center; justify-content: center; text-align: center;
  padding: 0 .5em; color: var(--ic-quiet); overflow: hidden; overflow-wrap: anywhere; }
.ic .ic-tile figcaption { padding: .3em .5em; overflow-wrap: anywhere; }
.ic .ic-caption { display: block; max-height: 4.2em; overflow: hidden; unicode-bidi: isolate; }
.ic .ic-tile dl { margin: .3em 0 0; color: var(--ic-quiet); font-size: .92em; }
.ic .ic-tile dl div { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 .5em; }
.ic .ic-tile dt, .ic .ic-tile dd { margin: 0; font-weight: 400; }
.ic .ic-tile dd { margin-left: auto; text-align: right; font-variant-numeric: tabular-nums; }
.ic .ic-blurred summary { position: relative; cursor: pointer; list-style: none; overflow: hidden; }
.ic .ic-blurred summary::-webkit-details-marker { display: none; }
.ic .ic-blurred .ic-veil { filter: blur(8px); object-fit: cover; }
.ic .ic-blurred summary span { position: absolute; inset: auto 0 0 0; text-align: center; background: var(--ic-raised);
  color: var(--ic-ink); }
.ic .ic-blurred[open] .ic-veil { display: none; }
.ic .ic-blurred[open] summary span { position: static; display: block; }
.ic .ic-strip { display: grid; grid-template-columns: repeat(10, 1fr); gap: 2px; max-width: 720px; text-align: center;
  padding: 0 1.7% 0 6.7%; box-sizing: border-box; color: var(--ic-quiet); }
.ic .ic-strip img, .ic .ic-strip .ic-none { width: 100%; height: 64px; object-fit: contain; margin: 0; display: block; }
.ic svg { display: block; max-width: 100%; height: auto; margin: .3em 0; color: var(--ic-ink); overflow: visible; }
.ic svg.ic-swatch { display: inline-block; width: .8em; height: .8em; margin: 0 .3em 0 .8em; vertical-align: -.05em; }
.ic svg text { fill: currentColor; font: 11px system-ui, sans-serif; }
.ic svg .ic-axis { stroke: var(--ic-line); }
.ic svg .ic-dot { stroke: currentColor; stroke-width: .5; stroke-opacity: .6; }
.ic svg .ic-mark { stroke: var(--ic-mark); stroke-width: 2; }
.ic svg .ic-peek { visibility: hidden; pointer-events: none; }
.ic svg .ic-point:hover .ic-peek, .ic svg .ic-point:focus .ic-peek { visibility: visible; }
"""

LOOKS = f""".ic {{{_LIGHT}}}
@media (prefers-color-scheme: dark) {{ .ic {{{_DARK}}} }}
[data-jp-theme-light="true"] .ic, .vscode-light .ic {{{_LIGHT}}}
[data-jp-theme-light="false"] .ic, .vscode-dark .ic {{{_DARK}}}
{_RULES}"""
