"""Ozon: pushed postings and chats, polled returns and cancellations. README.md: links, set-up, what is not established."""
