"""The mathematics: sources, the crosscoder and its sparse code.

It needs torch and safetensors, and no library of training, data sets or language models.
"""
