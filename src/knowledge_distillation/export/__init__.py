"""Export: the student alone, reloaded and compared before it is called done."""
