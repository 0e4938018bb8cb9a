"""Which rows are near which: exact, bounded in memory, the same on every run."""

from imagecurate.neighbours.pairs import CosinePairs, Shares, plan_only
from imagecurate.neighbours.planner import Option, Plan
from imagecurate.neighbours.reference import Matches, against
from imagecurate.neighbours.resolve import Outcome
from imagecurate.neighbours.semdedup import SemDeDup, max_similarity_to_earlier, semdedup
from imagecurate.neighbours.vectors import ArrayVectors, Run, Vectors

__all__ = [
    "ArrayVectors",
    "CosinePairs",
    "Matches",
    "Option",
    "Outcome",
    "Plan",
    "Run",
    "SemDeDup",
    "Shares",
    "Vectors",
    "against",
    "max_similarity_to_earlier",
    "plan_only",
    "semdedup",
]
