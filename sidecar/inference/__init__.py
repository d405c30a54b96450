"""Endpoints as one thing: create, change, delete and use them, whatever answers behind them."""
