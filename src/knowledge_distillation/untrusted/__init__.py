"""Files that may come from anywhere: plain data of bounded size, and names that stay in their folder."""

from knowledge_distillation.untrusted.places import check_no_links_out, within
from knowledge_distillation.untrusted.plain import LARGEST_YAML, json_of, text_of, yaml_of

__all__ = ["LARGEST_YAML", "check_no_links_out", "json_of", "text_of", "within", "yaml_of"]
