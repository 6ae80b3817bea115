"""Reports of results: terminal tables, Markdown and an HTML page. They draw and never compute."""
