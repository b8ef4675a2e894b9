"""Contacts of residues from attention."""
