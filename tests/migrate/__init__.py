"""Moving sessions: between servers, layouts and sandboxes, interrupted and meanwhile."""
