# The image of every service. `docker build .` makes the last stage, `app`: the server and its tests.
# `docker build --target runtime .` makes the server alone, for production.

FROM python:3.13-slim AS interpreter
ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /app


# What is installed, and the code, each made where a compiler's or installer's leftovers do no harm. Modules are compiled
# unchecked: a layer may round its files' times, and what looks older than its source would be compiled at every start.

FROM interpreter AS libraries
COPY requirements/app.txt requirements/
# Wheels only, with known hashes: nothing is compiled and no package's own code runs here. pip stays outside.
RUN python -m venv --without-pip /venv \
    && pip --python /venv/bin/python install --no-cache-dir --disable-pip-version-check --root-user-action ignore \
        --quiet --quiet --no-compile --only-binary :all: --require-hashes -r requirements/app.txt \
    && python -m compileall -q --invalidation-mode unchecked-hash /venv

FROM libraries AS test-libraries
COPY requirements/test.txt requirements/
RUN pip --python /venv/bin/python install --no-cache-dir --disable-pip-version-check --root-user-action ignore \
        --quiet --quiet --no-compile --only-binary :all: --require-hashes -r requirements/test.txt \
    && python -m compileall -q --invalidation-mode unchecked-hash /venv

FROM interpreter AS code
COPY domain domain
COPY api api
COPY worker worker
# Whatever umask the files were checked out with, the server's user reads them and nobody but root writes.
RUN chmod -R u=rwX,go=rX . && python -m compileall -q --invalidation-mode unchecked-hash .

FROM code AS test-code
COPY .dockerignore .env.example Dockerfile Makefile README.md docker-compose.yml pyproject.toml ./
COPY .ci .ci
COPY requirements requirements
COPY standalone standalone
COPY demo demo
COPY benchmarks benchmarks
COPY docs docs
COPY tests tests
RUN chmod -R u=rwX,go=rX . && python -m compileall -q --invalidation-mode unchecked-hash .


# How it runs.

FROM interpreter AS server
LABEL org.opencontainers.image.title="Botfarm" \
      org.opencontainers.image.description="Exclusive, expiring locks on a farm of bot users"
# /data keeps the sealing keys; a named volume mounted there takes over its owner.
RUN useradd --no-log-init --uid 10001 --user-group --create-home --shell /usr/sbin/nologin botfarm \
    && install -d -o botfarm -g botfarm -m 700 /data
# BOTFARM_AUTH is missing on purpose: beyond loopback the server starts only where somebody has decided.
ENV BOTFARM_HOST=0.0.0.0 \
    BOTFARM_PORT=8000 \
    BOTFARM_WORKER_HOST=0.0.0.0 \
    BOTFARM_WORKER_PORT=9100
EXPOSE 8000 9100
STOPSIGNAL SIGTERM
USER 10001:10001
# The worker's health is at :9100/health instead. No proxy of the environment stands between.
HEALTHCHECK --interval=10s --timeout=5s --start-period=15s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.build_opener(r.ProxyHandler({})).open('http://127.0.0.1:' + os.environ['BOTFARM_PORT'] + '/livez', timeout=4)"]
CMD ["python", "-m", "api"]

FROM server AS runtime
COPY --from=libraries /venv /venv
COPY --from=code /app /app

FROM server AS app
# The tests' user may write nothing below /app.
ENV HYPOTHESIS_STORAGE_DIRECTORY=/tmp/hypothesis \
    PYTEST_ADDOPTS="-p no:cacheprovider"
COPY --from=test-libraries /venv /venv
COPY --from=test-code /app /app
