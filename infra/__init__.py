"""The AWS CDK application that deploys Ledgerock, one construct per concern.

It imports `worker.settings` alone, so that the names of settings exist once, and synthesising a
stack loads neither the worker nor an AWS client.
"""
