# One file, three images:
#
#   docker build --target guest      -t airlock-guest      - < Dockerfile   the box that agents' code runs in
#   docker build --target guest-data -t airlock-guest-data .                the same with what data analysis takes
#   docker build --target gateway    -t airlock-gateway    .                Airlock itself
#
# Where no image registry can be reached, script/bootstrap makes the base image on this machine and hands it in
# with --build-arg BASE_IMAGE=airlock-base:trixie. Only instructions that the classic builder and BuildKit both
# know are used here. The guest's stages come first because the classic builder runs every stage up to its target.
ARG BASE_IMAGE=debian:trixie-slim

# Debian with its own Python: trixie-slim lacks one, the base made on this machine has it.
FROM ${BASE_IMAGE} AS python
RUN set -eu; \
    if ! command -v python3 >/dev/null; then \
        apt-get update; \
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates python3; \
    fi; \
    python3 -c 'import sys; assert sys.version_info[:2] == (3, 13), sys.version'; \
    apt-get clean; \
    rm -rf /var/lib/apt/lists/*

# What a box has no use for goes, the list of authorities that this machine trusts too, and no file may lend its
# owner's rights to whoever starts it.
FROM python AS guest-root
RUN set -eu; \
    echo 'sandbox:x:65532:65532:sandbox:/tmp:/usr/sbin/nologin' >> /etc/passwd; \
    echo 'sandbox:x:65532:' >> /etc/group; \
    rm -rf /etc/ssl/certs /usr/local/share/ca-certificates /usr/share/ca-certificates; \
    rm -rf /usr/share/doc /usr/share/info /usr/share/locale /usr/share/man; \
    rm -rf /root/.[!.]* /tmp/* /var/cache/* /var/log/*; \
    find / -xdev ! -type l -perm /6000 -exec chmod a-s {} +; \
    if python3 -m pip --version 2>/dev/null; then exit 1; fi

# One flat layer: nothing that was removed above survives in a lower one, and a box mounts faster.
FROM scratch AS guest
COPY --from=guest-root / /
LABEL org.opencontainers.image.title="airlock-guest" \
      airlock.python="3.13"
ENV PATH=/usr/local/bin:/usr/bin:/bin
USER 65532:65532
WORKDIR /tmp
CMD ["python3"]

# What requirements-guest-data.lock pins, every file by its hash. Where a build cannot reach the index, script/bootstrap
# hands in the same packages in a directory of this name; without it pip comes from Debian and stays in this stage.
FROM python AS guest-data-packages
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ONLY_BINARY=:all: \
    PIP_ROOT_USER_ACTION=ignore
ARG PACKAGES=/usr/local/lib/python3.13/dist-packages
COPY requirements-guest-data.lock package[s] /src/
# Matplotlib wants a directory that it can write, for its settings and its list of fonts, and asks the environment where. A
# box keeps nothing and has no such variable: both are made here, in the directory of the fonts, and read from there.
RUN set -eu; \
    if [ ! -d /src/numpy ]; then \
        apt-get update; \
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3-venv; \
        python3 -m venv /opt/build; \
        /opt/build/bin/pip install --quiet --no-compile --require-hashes --target /src -r /src/requirements-guest-data.lock; \
    fi; \
    rm -rf /src/requirements-guest-data.lock /src/bin /src/share /src/pandas/tests /src/matplotlib/tests; \
    find /src/scipy /src/sklearn -type d -name tests -prune -exec rm -rf {} +; \
    mkdir -p "${PACKAGES%/*}"; \
    rm -rf "$PACKAGES"; \
    mv /src "$PACKAGES"; \
    cd "$PACKAGES/matplotlib"; \
    sed -i "s/^def _get_config_or_cache_dir(xdg_base_getter):\$/&\\n    if not os.environ.get('MPLCONFIGDIR'):\\n        return get_data_path()/" __init__.py; \
    grep -q "^        return get_data_path()" __init__.py; \
    sed -i 's/^##backend: Agg$/backend: Agg/' mpl-data/matplotlibrc; \
    HOME=/nonexistent python3 -I -W error -c 'import matplotlib.pyplot as p; assert p.get_backend().lower() == "agg"'; \
    ls mpl-data/fontlist-v*.json; \
    python3 -I -m compileall -q -j 0 "$PACKAGES"; \
    chmod -R u=rwX,go=rX "$PACKAGES"

# The classic builder makes this one on its way to the gateway's image, too.
FROM guest AS guest-data
COPY --from=guest-data-packages /usr/local/lib/python3.13/dist-packages /usr/local/lib/python3.13/dist-packages
LABEL org.opencontainers.image.title="airlock-guest-data"

# pip and the build back end stay in this stage: the environment that is shipped was made without pip.
FROM python AS gateway-build
RUN set -eu; \
    apt-get update; \
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3-venv; \
    python3 -m venv /opt/build; \
    python3 -m venv --without-pip /opt/airlock
# Debian's bundle instead of pip's own, so that an authority added to the base image counts.
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ONLY_BINARY=:all: \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements.lock requirements-build.lock ./
RUN set -eu; \
    /opt/build/bin/pip install --quiet --require-hashes -r requirements-build.lock; \
    /opt/build/bin/pip --python /opt/airlock/bin/python install --quiet --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY sandbox sandbox
COPY gateway gateway
COPY policies policies
RUN set -eu; \
    /opt/build/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /tmp/wheel .; \
    /opt/build/bin/pip --python /opt/airlock/bin/python install --quiet --no-deps --no-index /tmp/wheel/*.whl

FROM python AS gateway
COPY --from=gateway-build /opt/airlock /opt/airlock
COPY policies /etc/airlock/policies
# A named volume takes owner and mode from the directory that it covers.
RUN set -eu; \
    useradd --system --uid 10001 --user-group --no-create-home --home-dir /data --shell /usr/sbin/nologin airlock; \
    install -d -o airlock -g airlock -m 0700 /data
LABEL org.opencontainers.image.title="airlock-gateway" \
      org.opencontainers.image.licenses="MIT"
ENV PATH=/opt/airlock/bin:/usr/local/bin:/usr/bin:/bin \
    AIRLOCK_LISTEN=0.0.0.0:8080 \
    AIRLOCK_DATA=/data \
    AIRLOCK_POLICY=/etc/airlock/policies/default.yaml
USER airlock
WORKDIR /data
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python3", "-I", "-c", "import os, urllib.request; port = os.environ['AIRLOCK_LISTEN'].rpartition(':')[2]; urllib.request.urlopen(f'http://127.0.0.1:{port}/healthz', timeout=4)"]
ENTRYPOINT ["airlock", "serve"]
