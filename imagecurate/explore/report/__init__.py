"""The report: one page that shows what was kept, what was thrown away, and why."""
