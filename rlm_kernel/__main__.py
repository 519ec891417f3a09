"""`python -m rlm_kernel -f CONNECTION_FILE`: what the kernelspec starts."""

from rlm_kernel.kernel import RLMKernelApp

RLMKernelApp.launch_instance()
