"""
A process of its own for the cells of one sub-agent, where it asks for that: `isolation="process"`.

`process` is the side that starts it, `main` and `caller` run in it, `link` is what both speak. What is asked over the
link is answered by whoever started the worker; nothing here knows an agent.
"""
