"""A page with the dyno's name, so that tests see which dyno answered."""

import os

from flask import Flask, request

app = Flask(__name__)


@app.get("/")
def home():
    return f"hello from python on {os.environ.get('DYNO', 'no dyno')}\n"


@app.get("/env/<name>")
def environment(name):
    return os.environ.get(name, "") + "\n"


@app.get("/headers")
def headers():
    return dict(request.headers)


@app.post("/echo")
def echo():
    return request.get_data()
