"""What a user asks for; each task works on arrays, and on files block by block."""
