"""Chats: messages, templates, and which characters of a rendered chat are content."""
