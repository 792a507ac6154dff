"""Says who it is: the files of its image, its user, and what it was given."""
import http.server
import os


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        words = open("words.txt").read().strip()
        text = (
            f"{os.environ['GREETING']} from {os.environ['DYNO']}: {words}, "
            f"uid {os.getuid()} in {os.getcwd()}\n"
        )
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args):
        pass


http.server.HTTPServer(("", int(os.environ["PORT"])), Handler).serve_forever()
