"""asyncio listens twice: on 0.0.0.0, and on :: for IPv6 alone."""

import asyncio
import os

import inside


async def answer(reader, writer):
    head = await reader.readuntil(b"\r\n\r\n")
    body = "hello from asyncio\n"
    if head.startswith(b"GET /inside "):
        body = await asyncio.to_thread(inside.report)
    writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
    await writer.drain()
    writer.close()


async def main():
    server = await asyncio.start_server(answer, None, int(os.environ["PORT"]))
    print("listeners", len(server.sockets), flush=True)
    await server.serve_forever()


asyncio.run(main())
