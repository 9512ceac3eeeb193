"""The engines of local deployments: each answers requests that come as JSON lines over one socket.

Runs where the engine's library is installed, loaded by path under the name `finetune_engine`; never imports the SDK.
"""
