"""The product: tweets, tags, rules, queues, annotations, review, model versions, scores and their pages."""
