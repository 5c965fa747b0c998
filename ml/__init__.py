"""A plain library: text in, probabilities out. Never imports Django, Celery or labeling."""
