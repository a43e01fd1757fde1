"""Django's settings, and every setting of the pipeline with its default and unit.

A setting of ours starts with NOTIFY_ and is read from the environment variable of the same name;
docs/settings.md lists them.
"""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from notify import admin_theme, env
from notify.domain.engine import window
from notify.kafka import kafka_security, producer_library
from notify.monitoring.watch import alert_receivers
from notify.telemetry import tracing

BASE_DIR = Path(__file__).resolve().parent.parent

#: How long glibc waits for each name server, in seconds, and how often it asks: by default 5 s, twice. No
#: client library can end a look-up, and that of a short name asks for two names.
os.environ.setdefault("RES_OPTIONS", "timeout:1 attempts:3")

NOTIFY_DEBUG = DEBUG = env.flag("NOTIFY_DEBUG", default=False)
#: An insecure default for development; `check --deploy` (notify.E001) refuses it.
SECRET_KEY = env.secret("NOTIFY_SECRET_KEY", "insecure-development-key")
ALLOWED_HOSTS = env.texts("NOTIFY_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = env.texts("NOTIFY_CSRF_TRUSTED_ORIGINS", "")
ROOT_URLCONF = "notify.web.urls"
WSGI_APPLICATION = "notify.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "static"

#: Ours is first, so that its templates stand for Unfold's of the same name; Unfold before the admin
#: that it replaces.
INSTALLED_APPS = [
    "notify.apps.NotifyConfig",
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "axes",
    "csp",
    "ingest",
    "workers",
]

MIDDLEWARE = [
    "notify.web.http.edge.ApiFirst",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]
#: Static files of the admin are served without `collectstatic` in development and demo.
WHITENOISE_USE_FINDERS = True

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("MinimumLengthValidator", "CommonPasswordValidator", "NumericPasswordValidator")
]

#: Set where TLS ends in front of us (any production): redirects, HSTS, secure cookies.
NOTIFY_TLS = env.flag("NOTIFY_TLS", default=not DEBUG)
SECURE_SSL_REDIRECT = NOTIFY_TLS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if NOTIFY_TLS else None
SECURE_HSTS_SECONDS = 31_536_000 if NOTIFY_TLS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = NOTIFY_TLS
#: Probes and scrapers inside the cluster speak plain HTTP.
SECURE_REDIRECT_EXEMPT = [r"^healthz/", r"^metrics$"]
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = NOTIFY_TLS
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
#: Lax, so that a link from a chat or a ticket opens a page of the admin without another login.
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SAMESITE = "Strict"
#: A login ends when the browser is closed, and after this long at most.
SESSION_COOKIE_AGE = NOTIFY_SESSION_S = env.integer("NOTIFY_SESSION_S", 43_200, least=60)
SESSION_EXPIRE_AT_BROWSER_CLOSE = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
#: For the admin's pages. Inline scripts are refused; inline styles are allowed, since templates have some.
#: 'unsafe-eval' is for Alpine, which evaluates the attributes of Unfold's templates.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "script-src": ["'self'", "'unsafe-eval'"],
        "style-src": ["'self'", "'unsafe-inline'"],
        "img-src": ["'self'", "data:"],
        "object-src": ["'none'"],
        "frame-src": ["'none'"],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
    }
}

#: How the admin looks, and its sidebar; how it writes times.
UNFOLD = admin_theme.UNFOLD
FORMAT_MODULE_PATH = "notify.formats"
#: The URL of Flower, to which the sidebar links. Empty: no link.
NOTIFY_FLOWER_URL = admin_theme.checked_link("NOTIFY_FLOWER_URL", env.text("NOTIFY_FLOWER_URL", ""))

# The admin's login page, and the page after a login without another destination.
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"

# Failed logins to the admin are counted for each client address and each user name, in PostgreSQL.
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
#: After how many failed logins an address, or a user name, gets 429, and for how long after the last one.
AXES_FAILURE_LIMIT = NOTIFY_LOGIN_FAILURES = env.integer("NOTIFY_LOGIN_FAILURES", 5, least=1)
NOTIFY_LOGIN_COOLOFF_S = env.integer("NOTIFY_LOGIN_COOLOFF_S", 900, least=1)
AXES_COOLOFF_TIME = timedelta(seconds=NOTIFY_LOGIN_COOLOFF_S)
#: How long an address counts as known to a user who has logged in from it. Failed logins from elsewhere do
#: not lock the user out at a known address.
NOTIFY_LOGIN_KNOWN_DAYS = env.integer("NOTIFY_LOGIN_KNOWN_DAYS", 30)
#: The number of proxies in front of web that add to NOTIFY_ADDRESS_HEADER; 1 if TLS ends in front of us.
NOTIFY_PROXIES = env.integer("NOTIFY_PROXIES", int(NOTIFY_TLS))
#: WSGI has one name for X-Forwarded-For and X_Forwarded_For, so the proxy must drop the second one. A name
#: without a hyphen does not have this problem.
NOTIFY_ADDRESS_HEADER = env.header("NOTIFY_ADDRESS_HEADER", "X-Forwarded-For")
AXES_LOCKOUT_PARAMETERS = "notify.security.logins.counted_by"
AXES_CLIENT_IP_CALLABLE = "notify.admin.login.client_address"
AXES_LOCKOUT_CALLABLE = "notify.admin.login.locked_out"
#: notify.security.logins resets counts after a success: axes would also reset failures of the address for
#: other users.
AXES_RESET_ON_SUCCESS = False
#: Tries during a lock are not stored, so that the table stays small and the lock ends.
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_ENABLE_ADMIN = AXES_VERBOSE = False


#: Ends a session after about 10 s if PostgreSQL's host is gone, and at PostgreSQL's end if ours is. With the
#: kernel's defaults a session would wait for hours, there with the locks of its transaction. DATABASE_URL may
#: have other values.
_KEEPALIVE = {
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
_POSTGRES_KEEPALIVE = (
    "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3 "
    "-c tcp_user_timeout=10000"
)


#: How long bridge, workers, watcher and the admin's pages wait for an answer of PostgreSQL. It must be
#: longer than the 30 s after which PostgreSQL itself cancels a statement.
NOTIFY_POSTGRES_DEADLINE_MS = env.integer("NOTIFY_POSTGRES_DEADLINE_MS", 35_000, least=1)
#: The same for reads of the API, which normally take milliseconds and delay a request.
NOTIFY_READ_DEADLINE_MS = env.integer("NOTIFY_READ_DEADLINE_MS", 5_000, least=1)
#: How much one answer of the API shows; its `warnings` say what is left out.
NOTIFY_READ_SUBSCRIPTIONS = env.integer("NOTIFY_READ_SUBSCRIPTIONS", 100, least=1)
NOTIFY_READ_TAGS = env.integer("NOTIFY_READ_TAGS", 1_000, least=1)
NOTIFY_READ_ALIASES = env.integer("NOTIFY_READ_ALIASES", 100, least=1)


def _database(url: str) -> dict[str, Any]:
    try:
        parts = dict(conninfo_to_dict(url))
    except ProgrammingError as error:
        raise ImproperlyConfigured(f"DATABASE_URL is not a PostgreSQL URL: {error}") from None
    # The last of two counts. libpq reads PGOPTIONS only if there are no others.
    options = [_POSTGRES_KEEPALIVE, os.environ.get("PGOPTIONS"), str(parts.get("options") or "")]
    return {
        "ENGINE": "notify.databases.postgres_backend",
        "NAME": parts.pop("dbname", "notify"),
        "USER": parts.pop("user", ""),
        "PASSWORD": parts.pop("password", ""),
        "HOST": parts.pop("host", ""),
        "PORT": parts.pop("port", ""),
        "OPTIONS": _KEEPALIVE | parts | {"options": " ".join(filter(None, options))},
        "CONN_MAX_AGE": 0,
    }


DATABASES = {"default": _database(env.secret("DATABASE_URL", "postgresql://localhost/notify"))}
REDIS_URL = env.secret("REDIS_URL", "redis://localhost:6379/0")
KAFKA_BOOTSTRAP_SERVERS = env.texts("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")
#: The arguments of all Kafka clients besides the servers. Contradictory settings end the process here.
KAFKA_SECURITY = kafka_security.arguments(
    kafka_security.Security(
        protocol=env.text("KAFKA_SECURITY_PROTOCOL", "PLAINTEXT"),
        mechanism=env.text("KAFKA_SASL_MECHANISM", ""),
        username=env.text("KAFKA_SASL_USERNAME", ""),
        password=env.secret("KAFKA_SASL_PASSWORD", ""),
        cafile=env.text("KAFKA_SSL_CAFILE", ""),
        certfile=env.text("KAFKA_SSL_CERTFILE", ""),
        keyfile=env.text("KAFKA_SSL_KEYFILE", ""),
        key_password=env.secret("KAFKA_SSL_KEY_PASSWORD", ""),
        check_hostname=env.flag("KAFKA_SSL_CHECK_HOSTNAME", default=True),
    )
)

#: Prefix of the topic, the consumer group and the Redis keys, so that stacks can share services.
NOTIFY_NAMESPACE = env.text("NOTIFY_NAMESPACE", "notify")
NOTIFY_TOPIC = env.text("NOTIFY_TOPIC", f"{NOTIFY_NAMESPACE}-sdk-updates")
NOTIFY_GROUP = env.text("NOTIFY_GROUP", f"{NOTIFY_NAMESPACE}-bridge")
#: Partitions and replicas of a topic that `topic create` creates.
NOTIFY_PARTITIONS = env.integer("NOTIFY_PARTITIONS", 8, least=1)
NOTIFY_REPLICATION = env.integer("NOTIFY_REPLICATION", 1, least=1)
#: 0 means one less than the replicas, so that one broker may be down.
NOTIFY_MIN_INSYNC = env.integer("NOTIFY_MIN_INSYNC", 0)
NOTIFY_RETENTION_HOURS = env.integer("NOTIFY_RETENTION_HOURS", 168, least=1)
#: The number of lanes of a new stream; 2 to 4 for each worker process are a good choice.
NOTIFY_LANES = env.integer("NOTIFY_LANES", 8, least=1)

# The window (rule 14 of docs/protocol.md).
NOTIFY_WINDOW_OFFSETS = env.integer("NOTIFY_WINDOW_OFFSETS", window.WINDOW_OFFSETS, least=1)
NOTIFY_WINDOW_BYTES = env.integer("NOTIFY_WINDOW_BYTES", window.WINDOW_BYTES, least=1)
NOTIFY_CHUNK_MESSAGES = env.integer("NOTIFY_CHUNK_MESSAGES", window.CHUNK_MESSAGES, least=1)
NOTIFY_SHORT_CHUNK_MESSAGES = env.integer(
    "NOTIFY_SHORT_CHUNK_MESSAGES", window.SHORT_CHUNK_MESSAGES, least=1
)
NOTIFY_CHUNK_BYTES = env.integer("NOTIFY_CHUNK_BYTES", window.CHUNK_BYTES, least=1)
NOTIFY_TASK_ROWS = env.integer("NOTIFY_TASK_ROWS", window.TASK_ROWS, least=1)
NOTIFY_TASK_BYTES = env.integer("NOTIFY_TASK_BYTES", window.TASK_BYTES, least=1)
NOTIFY_SHARED_ROWS = env.integer("NOTIFY_SHARED_ROWS", window.SHARED_ROWS, least=0)

# The bridge.
#: The most bytes of one fetch from one broker, and a quarter of it for one partition. A larger message is
#: fetched alone.
NOTIFY_FETCH_BYTES = env.integer("NOTIFY_FETCH_BYTES", 1024 * 1024, least=1)
#: If fetches return nothing of a partition for this long, although it has more messages, the bridge
#: reconnects to Kafka.
NOTIFY_UNREAD_AFTER_MS = env.integer("NOTIFY_UNREAD_AFTER_MS", 10_000, least=1_000)
#: A batch that is not applied is sent again after this, then after twice as long, up to the maximum.
NOTIFY_RESEND_AFTER_MS = env.integer("NOTIFY_RESEND_AFTER_MS", 2_000, least=1)
NOTIFY_RESEND_AFTER_MAX_MS = env.integer("NOTIFY_RESEND_AFTER_MAX_MS", 8_000, least=1)
#: How long a bridge that was told to stop waits for batches in flight.
NOTIFY_DRAIN_MS = env.integer("NOTIFY_DRAIN_MS", 5_000)
NOTIFY_SESSION_TIMEOUT_MS = env.integer("NOTIFY_SESSION_TIMEOUT_MS", 6_000, least=1)
NOTIFY_HEARTBEAT_MS = env.integer("NOTIFY_HEARTBEAT_MS", 1_000, least=1)
#: How many records the bridge counts for each partition and 10-second bucket (space-saving sketch).
NOTIFY_HOT_RECORDS = env.integer("NOTIFY_HOT_RECORDS", 200, least=1)
#: How many apps it counts in the same way.
NOTIFY_HOT_APPS = env.integer("NOTIFY_HOT_APPS", 200, least=1)
#: For how many records of an app, by reason, refused links and aliases are listed in ten seconds. Those of
#: more records are counted without the record.
NOTIFY_REFUSED_RECORDS = env.integer("NOTIFY_REFUSED_RECORDS", 200, least=0)
#: How long skipped updates and dead letters are kept.
NOTIFY_DROPPED_DAYS = env.integer("NOTIFY_DROPPED_DAYS", 90, least=1)
NOTIFY_PLAN_LOG_DAYS = env.integer("NOTIFY_PLAN_LOG_DAYS", 30, least=1)
#: How long a client's message id is remembered, so that a retry adds to no counter. 0: off.
NOTIFY_SEEN_HOURS = env.integer("NOTIFY_SEEN_HOURS", 1, most=24)
NOTIFY_HOT_HOURS = env.integer("NOTIFY_HOT_HOURS", 24, least=1)

# The workers.
NOTIFY_LOCK_TIMEOUT_MS = env.integer("NOTIFY_LOCK_TIMEOUT_MS", 2_000, least=1)

# Replays.
#: How many dead letters are replayed at a time, and how many skipped updates in one step of a replay.
NOTIFY_REPLAY_MESSAGES = env.integer("NOTIFY_REPLAY_MESSAGES", 1_000, least=1)

# Imports.
#: The most updates a second of `manage.py import`. 0: no limit.
NOTIFY_IMPORT_UPDATES_PER_S = env.integer("NOTIFY_IMPORT_UPDATES_PER_S", 1_000)

# The web edge.
#: How long an update waits for PostgreSQL to say whether its record was deleted; then it is accepted.
NOTIFY_LOOKUP_DEADLINE_MS = env.integer("NOTIFY_LOOKUP_DEADLINE_MS", 500, least=1)
#: With more deleted records each process of web keeps no list of them, and looks each update's record up.
NOTIFY_DELETED_LISTED = env.integer("NOTIFY_DELETED_LISTED", 2_000_000, least=0)
#: HMAC key of app keys at rest; `check --deploy` (notify.E002) refuses an empty one.
NOTIFY_KEY_PEPPER = env.secret("NOTIFY_KEY_PEPPER", "")
NOTIFY_APPS_REFRESH_MS = env.integer("NOTIFY_APPS_REFRESH_MS", 1_000, least=10)
NOTIFY_BODY_BYTES = env.integer("NOTIFY_BODY_BYTES", 32 * 1024, least=1)
NOTIFY_BATCH_BYTES = env.integer("NOTIFY_BATCH_BYTES", 500 * 1024, least=1)
NOTIFY_BATCH_UPDATES = env.integer("NOTIFY_BATCH_UPDATES", 500, least=1)
#: The library that sends messages: kafka-python, or librdkafka if the extra is installed.
NOTIFY_KAFKA_PRODUCER = producer_library.checked(env.text("NOTIFY_KAFKA_PRODUCER", "kafka-python"))
#: The most bytes that are sent to Kafka and not acked yet. With more, requests get 503.
NOTIFY_PRODUCER_BYTES = env.integer("NOTIFY_PRODUCER_BYTES", 32 * 1024 * 1024, least=1)
NOTIFY_ACK_TIMEOUT_MS = env.integer("NOTIFY_ACK_TIMEOUT_MS", 10_000, least=1)
NOTIFY_RETRY_AFTER_S = env.integer("NOTIFY_RETRY_AFTER_S", 5, least=1)
#: How many seconds the clock of an app's server may be off, and the longest lifetime of a token.
NOTIFY_IDENTITY_LEEWAY_S = env.integer("NOTIFY_IDENTITY_LEEWAY_S", 30)
NOTIFY_IDENTITY_LIFETIME_S = env.integer("NOTIFY_IDENTITY_LIFETIME_S", 86_400, least=1)
#: The longest token in characters, and how many verified tokens a process remembers.
NOTIFY_IDENTITY_TOKEN_CHARS = env.integer("NOTIFY_IDENTITY_TOKEN_CHARS", 4_096, least=1)
NOTIFY_IDENTITY_TOKENS = env.integer("NOTIFY_IDENTITY_TOKENS", 10_000)
#: How old a tick or a sample may get, and how long decided updates may wait for workers, before a partition
#: counts as in trouble.
NOTIFY_STALLED_AFTER_MS = env.integer("NOTIFY_STALLED_AFTER_MS", 6_000, least=1)
#: Rate limits a second, for an app over all web processes, and for a record. 0: no limit.
NOTIFY_LIMIT_REQUESTS_PER_S = env.integer("NOTIFY_LIMIT_REQUESTS_PER_S", 1_000)
NOTIFY_LIMIT_UPDATES_PER_S = env.integer("NOTIFY_LIMIT_UPDATES_PER_S", 100_000)
NOTIFY_LIMIT_RECORD_UPDATES_PER_S = env.integer("NOTIFY_LIMIT_RECORD_UPDATES_PER_S", 0)
#: The share of a limit that one web process admits on its own while Redis is unavailable.
NOTIFY_LIMIT_LOCAL_PERCENT = env.integer("NOTIFY_LIMIT_LOCAL_PERCENT", 50, least=1, most=100)
#: How long a request may wait for Redis to count it; after a failure Redis is not asked for 1 s.
NOTIFY_LIMIT_REDIS_TIMEOUT_MS = env.integer("NOTIFY_LIMIT_REDIS_TIMEOUT_MS", 50, least=1)
#: The most values in all objects and lists of one request body.
NOTIFY_BODY_MEMBERS = env.integer("NOTIFY_BODY_MEMBERS", 100_000, least=1)
DATA_UPLOAD_MAX_MEMORY_SIZE = NOTIFY_BATCH_BYTES

# Thresholds of findings (notify/monitoring).
#: The share of a hot record in all updates, and its lowest rate, so that a quiet night causes no alert.
NOTIFY_FIND_RECORD_PERCENT = env.integer("NOTIFY_FIND_RECORD_PERCENT", 15, least=1, most=100)
NOTIFY_FIND_UPDATES_PER_S = env.integer("NOTIFY_FIND_UPDATES_PER_S", 20)
#: The share of a hot app in all updates, and how many times its rate of the hour before it must send.
NOTIFY_FIND_APP_PERCENT = env.integer("NOTIFY_FIND_APP_PERCENT", 40, least=1, most=100)
NOTIFY_FIND_APP_FACTOR = env.integer("NOTIFY_FIND_APP_FACTOR", 3, least=1)
#: Requests of one app that its rate limits refuse a second.
NOTIFY_FIND_REFUSED_PER_S = env.integer("NOTIFY_FIND_REFUSED_PER_S", 5, least=1)
#: Links, or aliases, of one app that its link limits refuse a second.
NOTIFY_FIND_LINKS_REFUSED_PER_S = env.integer("NOTIFY_FIND_LINKS_REFUSED_PER_S", 5, least=1)
#: Values that are left out of one app's requests a second, such as tags over a limit or invalid names.
NOTIFY_FIND_LEFT_OUT_PER_S = env.integer("NOTIFY_FIND_LEFT_OUT_PER_S", 5, least=1)
#: Requests that web answers 503, a second, and for how long.
NOTIFY_FIND_UNAVAILABLE_PER_S = env.integer("NOTIFY_FIND_UNAVAILABLE_PER_S", 1, least=1)
NOTIFY_FIND_UNAVAILABLE_S = env.integer("NOTIFY_FIND_UNAVAILABLE_S", 10)
#: The lowest rate of a hot app, in updates a second by the time when web accepted them.
NOTIFY_FIND_APP_UPDATES_PER_S = env.integer("NOTIFY_FIND_APP_UPDATES_PER_S", 50)
NOTIFY_FIND_LAG_S = env.integer("NOTIFY_FIND_LAG_S", 30, least=1)
#: A watcher that PostgreSQL has not answered for this long sends an alert, for which it needs no PostgreSQL.
NOTIFY_FIND_POSTGRES_S = env.integer("NOTIFY_FIND_POSTGRES_S", 30, least=1)

#: How long a partition may be without a tick after a topic was created or a bridge started.
NOTIFY_START_GRACE_S = env.integer("NOTIFY_START_GRACE_S", 30)

# The watcher (`manage.py watch`) and its alerts.
#: An alert closes when its problem has not been found for this long.
NOTIFY_ALERT_CLOSE_S = env.integer("NOTIFY_ALERT_CLOSE_S", 30)
#: For how many hours a closed alert is still sent, and for how many days it is kept.
NOTIFY_ALERT_HOURS = env.integer("NOTIFY_ALERT_HOURS", 24, least=1)
NOTIFY_ALERT_DAYS = env.integer("NOTIFY_ALERT_DAYS", 30, least=1)
#: The most messages an hour to the webhook, and the most e-mails.
NOTIFY_ALERTS_PER_HOUR = env.integer("NOTIFY_ALERTS_PER_HOUR", 60, least=1)
NOTIFY_ALERT_TIMEOUT_S = EMAIL_TIMEOUT = env.integer("NOTIFY_ALERT_TIMEOUT_S", 5, least=1)
NOTIFY_ALERT_WEBHOOK_URL = alert_receivers.checked_url(
    "NOTIFY_ALERT_WEBHOOK_URL", env.secret("NOTIFY_ALERT_WEBHOOK_URL", "")
)
#: The HMAC key of the webhook's signature. Empty: not signed.
NOTIFY_ALERT_WEBHOOK_SECRET = env.secret("NOTIFY_ALERT_WEBHOOK_SECRET", "")
#: Gets a POST regularly while the leading watcher runs; its receiver alerts when none comes. Empty: off.
NOTIFY_WATCH_HEARTBEAT_URL = alert_receivers.checked_url(
    "NOTIFY_WATCH_HEARTBEAT_URL", env.secret("NOTIFY_WATCH_HEARTBEAT_URL", "")
)
NOTIFY_WATCH_HEARTBEAT_S = env.integer("NOTIFY_WATCH_HEARTBEAT_S", 60, least=1)
#: The mail server; the URL may contain a user and a password.
_MAIL = alert_receivers.mail_server(env.secret("NOTIFY_EMAIL_URL", ""))
EMAIL_HOST, EMAIL_PORT, EMAIL_HOST_USER, EMAIL_HOST_PASSWORD, EMAIL_USE_TLS, EMAIL_USE_SSL = _MAIL
DEFAULT_FROM_EMAIL = env.text("NOTIFY_EMAIL_FROM", "notify@localhost")
NOTIFY_ALERT_EMAILS = alert_receivers.checked_emails(env.texts("NOTIFY_ALERT_EMAILS", ""), _MAIL)
#: The URL of the admin without /admin/, with which links in alerts begin.
NOTIFY_ADMIN_URL = admin_theme.checked_link("NOTIFY_ADMIN_URL", env.text("NOTIFY_ADMIN_URL", ""))

#: Port of /metrics and health in bridge, workers and watch (web serves them itself); 0 is off.
NOTIFY_METRICS_PORT = env.integer("NOTIFY_METRICS_PORT", 0, most=65_535)
#: The address that this port is bound to. It asks for no login, so by default only this host reaches it.
NOTIFY_METRICS_HOST = env.address("NOTIFY_METRICS_HOST", "127.0.0.1")
#: How long a bridge's loop or a worker's task may take before /healthz/progress reports it as stuck.
NOTIFY_PROGRESS_AFTER_MS = env.integer("NOTIFY_PROGRESS_AFTER_MS", 8_000, least=1)
#: Whether to make OpenTelemetry spans, and for how many messages at a time a bridge does so.
NOTIFY_OTEL = tracing.checked(is_on=env.flag("NOTIFY_OTEL", default=False))
NOTIFY_OTEL_MESSAGES = env.integer("NOTIFY_OTEL_MESSAGES", 10_000, least=1)
NOTIFY_LOG_LEVEL = env.log_level("NOTIFY_LOG_LEVEL", "INFO")
#: Whether to log a line for each update that Kafka acked, from which `trail` follows updates.
NOTIFY_LOG_ACKS = env.flag("NOTIFY_LOG_ACKS", default=True)
#: The Loki that `trail` asks for log lines; the URL may contain a user and a password. Empty: use --logs.
NOTIFY_LOKI_URL = env.secret("NOTIFY_LOKI_URL", "")
LOGGING_CONFIG = None
