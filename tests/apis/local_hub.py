# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""A stand-in for the hub: what an upload and a download of small files ask for."""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = '0' * 39 + '1'


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def answer(self, content, status=200, **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header('Content-Length', str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace('_', '-'), value)
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(body)

    def do_POST(self):  # noqa: N802
        body = self.rfile.read(int(self.headers['Content-Length'] or 0))
        files, address = self.server.files, self.server.address
        if self.path == '/api/repos/create':
            wanted = json.loads(body)
            name = f'{wanted.get("organization") or "user"}/{wanted["name"]}'
            return self.answer(dict(url=f'{address}/{name}'))
        if self.path == '/api/validate-yaml':  # of the model card
            return self.answer(dict(errors=[], warnings=[]))
        repo = re.match(r'/api/models/([^/]+/[^/]+)/', self.path).group(1)
        if '/preupload/' in self.path:
            asked = json.loads(body)['files']
            modes = [
                dict(path=f['path'], uploadMode='regular', shouldIgnore=False)
                for f in asked
            ]
            return self.answer(dict(files=modes))
        for line in map(json.loads, body.splitlines()):
            if line['key'] == 'file':
                content = base64.b64decode(line['value']['content'])
                files[f'{repo}/{line["value"]["path"]}'] = content
        url = f'{address}/{repo}/commit/{COMMIT}'
        return self.answer(dict(success=True, commitOid=COMMIT, commitUrl=url))

    def do_GET(self):  # noqa: N802
        if self.path.startswith('/api/models/'):
            return self.answer(dict(id='user/flowers', sha=COMMIT, siblings=[]))
        found = re.match(r'/([^/]+/[^/]+)/resolve/[^/]+/(.+)', self.path)
        content = found and self.server.files.get('/'.join(found.groups()))
        if content is None:
            return self.answer(b'', 404, X_Error_Code='EntryNotFound')
        etag = hashlib.sha1(content).hexdigest()
        return self.answer(content, ETag=f'"{etag}"', X_Repo_Commit=COMMIT)

    do_HEAD = do_GET  # noqa: N815


@contextmanager
def local_hub():
    """Serve on the loopback; yield the address and the files by path."""
    server = ThreadingHTTPServer(('127.0.0.1', 0), _Handler)
    server.files, server.address = {}, f'http://127.0.0.1:{server.server_port}'
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.address, server.files
    finally:
        server.shutdown()
        thread.join()
