"""Damaged files never raise, never harm the next one, and never mean two things."""

from __future__ import annotations



