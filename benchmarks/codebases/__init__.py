"""Other people's multi-task codebases, before and after conversion."""
