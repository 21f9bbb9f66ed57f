"""Local and borrowed database servers for the demo, the tests and the benches; the worker itself never starts one."""
