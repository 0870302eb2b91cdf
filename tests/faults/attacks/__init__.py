"""Files of a stranger: what would run code, leave its folder or fill the memory where the toolkit reads it."""
