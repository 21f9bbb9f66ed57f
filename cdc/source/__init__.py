"""The source database, beside its stream: what is set up, checked and watched there."""
