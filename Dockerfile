# The service of docs/serve.md: a user without rights, and nothing is written outside of /tmp.
FROM python:3.12-slim
WORKDIR /opt/cddfuse
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY src src
COPY examples examples
RUN pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu -c constraints.txt torch \
    && pip install --no-cache-dir -c constraints.txt '.[serve,video]'
# Compiled functions of Numba. A processor of another kind compiles them anew, in half a minute.
ENV NUMBA_CACHE_DIR=/opt/cddfuse/numba
RUN cddfuse fuse examples/night_visible.png examples/night_infrared.png -o /tmp/fused.png && rm /tmp/fused.png \
    && useradd --system --uid 900 --no-create-home cddfuse && chmod -R a+rX numba
# Numba takes no cache that it cannot write to.
ENV NUMBA_CACHE_DIR=/tmp/numba XDG_CACHE_HOME=/tmp HOME=/tmp
USER 900
EXPOSE 8000
HEALTHCHECK --start-period=120s CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/readyz')"]
ENTRYPOINT ["sh", "-c", "cp -r /opt/cddfuse/numba /tmp/numba && exec cddfuse serve --host 0.0.0.0 \"$@\"", "serve"]
