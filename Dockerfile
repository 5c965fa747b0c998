# One image for web, workers and the scheduler; compose.yaml says which is which.
FROM python:3.13-slim-bookworm AS packages
WORKDIR /build
COPY requirements.txt constraints.txt ./
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --disable-pip-version-check -r requirements.txt

FROM python:3.13-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /app tagger \
    && mkdir /app /data && chown tagger /data
COPY --from=packages /venv /venv
WORKDIR /app
COPY --chown=root:root . .
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TF_CPP_MIN_LOG_LEVEL=3 \
    REMAP_SIGTERM=SIGQUIT \
    CELERY_CUSTOM_WORKER_POOL=tagger_site.inline_pool:TaskPool \
    TAGGER_VAR_DIR=/data
USER tagger
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=4 CMD ["python", "-m", "tagger_site.probe"]
CMD ["gunicorn", "tagger_site.wsgi", "--bind", "0.0.0.0:8000", "--worker-class", "gthread", "--workers", "2", "--threads", "6", "--graceful-timeout", "5"]
