"""What a container is made of: the types of its fields, what Docker says of it, and how each is given and seen."""
