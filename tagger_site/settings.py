"""Settings, read from the environment. docs/settings.md explains each one; a bad value stops start-up."""

import os
from pathlib import Path
from urllib.parse import unquote

import environ

from tagger_site import embedded

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()

# Where databases, uploads, model artefacts and secrets of this installation live.
VAR_DIR = embedded.var_dir()  # TAGGER_VAR_DIR

DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY", default="") or embedded.secret(VAR_DIR, "secret_key")

# Behind a TLS proxy HTTPS=true is a must; the default suits http://127.0.0.1.
HTTPS = env.bool("HTTPS", default=False)
TRUSTED_PROXIES = env.int("TRUSTED_PROXIES", default=0)  # how many proxies of your own stand in front
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

INSTALLED_APPS = [
    "labeling.admin_config.TaggerAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.sessions",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "axes",
    "csp",
    "django_filters",
    "django_htmx",
    "pgtrigger",
    "template_partials",
    "labeling",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",  # outside the others, so that their error pages carry the policy too
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "tagger_site.urls"
WSGI_APPLICATION = "tagger_site.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "labeling.context.page",
            ],
        },
    },
    {
        "BACKEND": "django.template.backends.jinja2.Jinja2",  # long lists: see labeling/jinja.py
        "DIRS": [BASE_DIR / "templates"],
        "OPTIONS": {"environment": "labeling.jinja.environment"},
    },
]

# Database and broker -------------------------------------------------------------------------------------

DATABASE_IS_EMBEDDED = not env.str("DATABASE_URL", default="")
if not DATABASE_IS_EMBEDDED:
    DATABASES = {"default": env.db_url("DATABASE_URL")}
    DATABASES["default"]["HOST"] = unquote(
        DATABASES["default"]["HOST"]
    )  # a socket's folder: %2Frun%2Fpostgresql
else:
    DATABASES = {"default": embedded.database(VAR_DIR)}
DATABASES["default"]["CONN_MAX_AGE"] = 600
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = env.str("REDIS_URL", default="") or embedded.broker_url(VAR_DIR)

# Celery writes the address of a socket in another way than the Redis client.
CELERY_BROKER_URL = REDIS_URL.replace("unix://", "redis+socket://").replace("?db=", "?virtual_host=")
CELERY_RESULT_BACKEND = None  # the job's row holds its state
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_SERIALIZER = "json"
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_POOL_START_METHOD = "spawn"  # TensorFlow does not survive a fork
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 3600, "socket_timeout": 30}
CELERY_TASK_DEFAULT_QUEUE = "jobs"
CELERY_TASK_ROUTES = {"labeling.tasks.score_chunks": {"queue": "score"}}

# People and access ---------------------------------------------------------------------------------------

AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "log-in"
LOGIN_REDIRECT_URL = "labeling:home"
LOGOUT_REDIRECT_URL = "log-in"
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]  # never a whole office behind one proxy
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = 0.25  # hours
AXES_LOCKOUT_TEMPLATE = "registration/locked.html"

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    }
}
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_AGE = env.int("SESSION_DAYS", default=14) * 24 * 3600
AXES_CLIENT_IP_CALLABLE = "tagger_site.proxy.client_address"

SECURE_SSL_REDIRECT = SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]  # asked from inside, without the proxy
SECURE_HSTS_SECONDS = env.int("HSTS_SECONDS", default=365 * 24 * 3600) if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = env.bool("HSTS_INCLUDE_SUBDOMAINS", default=False)
SECURE_HSTS_PRELOAD = env.bool("HSTS_PRELOAD", default=False)
if TRUSTED_PROXIES:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
# Subdomains and the preload list bind a whole domain, for years: only its owner can decide that.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]

# Static files and uploads --------------------------------------------------------------------------------

STATIC_URL = "static/"
STATIC_ROOT = VAR_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "static"]
MEDIA_ROOT = VAR_DIR / "files"  # private: nothing below it is served by URL
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    # Trained models: in the database, so that workers on any machine find them.
    "models": {
        "BACKEND": env.str("MODEL_STORAGE", default="labeling.model_storage.DatabaseStorage"),
        "OPTIONS": env.json("MODEL_STORAGE_OPTIONS", default={}),
    },
}
MODEL_CACHE = VAR_DIR / "models"  # copies of the models that this machine uses

FILE_UPLOAD_HANDLERS = [
    "labeling.imports.uploads.SizeLimit",
    "django.core.files.uploadhandler.TemporaryFileUploadHandler",  # never a large file in memory
]

# Language and time ---------------------------------------------------------------------------------------

LANGUAGE_CODE = "en"
TIME_ZONE = env.str("TIME_ZONE", default="UTC")
USE_TZ = True
USE_I18N = False

# The product ---------------------------------------------------------------------------------------------

# Names of the two verdicts, as shown on every page.
VERDICT_DA = env.str("VERDICT_DA", default="DA")
VERDICT_NDA = env.str("VERDICT_NDA", default="NDA")

# The words that drove the score are kept for this many tweets of highest risk.
FLAGGED_WORDS = env.int("FLAGGED_WORDS", default=5_000)
# Rows in one export of flagged tweets from the page; the command has no limit.
EXPORT_LIMIT = env.int("EXPORT_LIMIT", default=100_000)
# Celery tasks that help the worker that leads a scoring run. They run on the queue "score".
SCORE_HELPERS = env.int("SCORE_HELPERS", default=max(1, (os.cpu_count() or 2) - 1))

# Errors go to standard error: Django alone would mail them to nobody.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": env.str("LOG_LEVEL", default="WARNING")},
    "loggers": {"django": {"handlers": ["console"], "level": "WARNING", "propagate": False}},
}
# How long an analyst holds a tweet of a queue without a sign of life; and after a closed tab.
CLAIM_MINUTES = env.float("CLAIM_MINUTES", default=10.0)
RELEASE_GRACE_SECONDS = env.float("RELEASE_GRACE_SECONDS", default=5.0)

# Import: memory of the process that reads a file, batches, and how many batches are written at once.
IMPORT_MEMORY_MB = env.int("IMPORT_MEMORY_MB", default=512)
IMPORT_MAX_UPLOAD_MB = env.int("IMPORT_MAX_UPLOAD_MB", default=4096)
IMPORT_BATCH_ROWS = 200_000
IMPORT_LANES = env.int("IMPORT_LANES", default=2)

# Memory of the job that builds the full-text indexes of large imports, in PostgreSQL.
SEARCH_BUILD_MEMORY_MB = env.int("SEARCH_BUILD_MEMORY_MB", default=256)

HTMX_CONFIG = {"includeIndicatorStyles": False, "allowEval": False, "allowScriptTags": False}

CELERY_BEAT_SCHEDULE = {
    # On both queues: one may be busy for an hour, and then nobody needs to hear them all.
    "ring-for-jobs": {"task": "labeling.tasks.ring_for_jobs", "schedule": 15.0, "options": {"expires": 15}},
    "ring-for-scoring": {
        "task": "labeling.tasks.ring_for_jobs",
        "schedule": 15.0,
        "options": {"expires": 15, "queue": "score"},
    },
    "look-for-near-copies": {"task": "labeling.tasks.look_for_near_copies", "schedule": 60.0},
    "keep-list-near": {
        "task": "labeling.tasks.keep_list_near",
        "schedule": 120.0,
        "options": {"expires": 60, "queue": "score"},
    },
}
