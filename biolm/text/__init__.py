"""Text: read, tag, embed, ask and mine the literature with the models of the field.

Names load on first use; nothing here is imported by the core.
"""
