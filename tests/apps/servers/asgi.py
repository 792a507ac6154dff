"""For uvicorn."""

import asyncio

import inside


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body = "hello from uvicorn\n"
    if scope["path"] == "/inside":
        body = await asyncio.to_thread(inside.report)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body.encode()})
