"""Stages, the plan that orders them, the pass that applies it to a shard, and the ledger of what came of it."""
