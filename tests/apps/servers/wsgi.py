"""For gunicorn, which needs a second thread for what asks itself."""

import inside


def app(environ, start_response):
    body = inside.report() if environ["PATH_INFO"] == "/inside" else "hello from gunicorn\n"
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body.encode()]
