"""What the methods share on the front side: validation, storage, recipes, pages."""
