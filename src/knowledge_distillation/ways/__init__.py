"""Other ways to be taught than once by one finished teacher: in turn, by peers, without data."""

from knowledge_distillation.ways.chains import born_again, teach_in_turn
from knowledge_distillation.ways.data_free import distill_data_free
from knowledge_distillation.ways.mutual import mutual

__all__ = ["born_again", "distill_data_free", "mutual", "teach_in_turn"]
