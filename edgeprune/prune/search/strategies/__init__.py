"""Search strategies: GWCS, SMOEA, the joint search and the controls."""
