# The sidecar as an image: `docker build -t inference-sidecar .`
FROM python:3.12-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/sidecar
WORKDIR /src
# the dependencies are a layer of their own, which a change of the code leaves alone
COPY pyproject.toml ./
RUN python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' > dependencies.txt \
    && /opt/sidecar/bin/pip install -r dependencies.txt
COPY . .
RUN /opt/sidecar/bin/pip install --no-deps .

FROM python:3.12-slim
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/sidecar --shell /usr/sbin/nologin sidecar \
    && install -d -o sidecar -g sidecar -m 0700 /var/lib/sidecar
COPY --from=build /opt/sidecar /opt/sidecar
# loopback would be reachable from inside the container alone
ENV PATH=/opt/sidecar/bin:$PATH \
    SIDECAR_HOST=0.0.0.0 \
    SIDECAR_PORT=9800 \
    SIDECAR_DATA_DIR=/var/lib/sidecar \
    SIDECAR_LOG_FORMAT=json
# as a number, so that Kubernetes can tell that it is not root
USER 10001:10001
WORKDIR /var/lib/sidecar
VOLUME /var/lib/sidecar
EXPOSE 9800
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as http; http.urlopen('http://127.0.0.1:' + os.environ['SIDECAR_PORT'] + '/_sidecar/health/ready', timeout=2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["sidecar"]
CMD ["serve"]
