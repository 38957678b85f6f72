"""Everything that judges, brought together: `Life` and the rules it is judged by."""

from tests.generated import rules_money, rules_story, rules_time
from tests.generated.judge import RULES
from tests.generated.life import Life, shortest

__all__ = ["RULES", "Life", "rules_money", "rules_story", "rules_time", "shortest"]
