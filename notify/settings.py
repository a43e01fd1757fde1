"""Django's settings, and every setting of the pipeline with its default and unit.

A setting of ours starts with NOTIFY_ and is read from the environment variable of the same name;
docs/settings.md lists them.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from notify import admin_theme, alert_receivers, env, kafka_security, tracing
from notify.domain import window

BASE_DIR = Path(__file__).resolve().parent.parent

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
    "notify.web.edge.ApiFirst",
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
#: A login ends with the browser, and after so long at most, used or not.
SESSION_COOKIE_AGE = NOTIFY_SESSION_S = env.integer("NOTIFY_SESSION_S", 43_200, least=60)
SESSION_EXPIRE_AT_BROWSER_CLOSE = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
#: Of the admin's pages. Inline scripts are refused; inline styles are not: its templates have some.
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
#: Where people open Flower; the sidebar links to it. Empty: it does not.
NOTIFY_FLOWER_URL = admin_theme.checked_link("NOTIFY_FLOWER_URL", env.text("NOTIFY_FLOWER_URL", ""))

# Where the admin asks for a login, and where one leads that was asked for at no other page.
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"

# Failed logins to the admin are counted for each client address and each user name, in PostgreSQL.
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
#: Failed logins after which an address gets 429, and those to a user name; and how long after the last.
AXES_FAILURE_LIMIT = NOTIFY_LOGIN_FAILURES = env.integer("NOTIFY_LOGIN_FAILURES", 5, least=1)
NOTIFY_LOGIN_COOLOFF_S = env.integer("NOTIFY_LOGIN_COOLOFF_S", 900, least=1)
AXES_COOLOFF_TIME = timedelta(seconds=NOTIFY_LOGIN_COOLOFF_S)
#: For so long an address is known from which a user has logged in: others cannot lock him out there.
NOTIFY_LOGIN_KNOWN_DAYS = env.integer("NOTIFY_LOGIN_KNOWN_DAYS", 30)
#: Proxies in front of web that add to NOTIFY_ADDRESS_HEADER. Where TLS ends in front of us there is one.
NOTIFY_PROXIES = env.integer("NOTIFY_PROXIES", int(NOTIFY_TLS))
#: WSGI has one name for X-Forwarded-For and X_Forwarded_For, so a proxy must drop the second; a name
#: without a hyphen has no such twin.
NOTIFY_ADDRESS_HEADER = env.header("NOTIFY_ADDRESS_HEADER", "X-Forwarded-For")
AXES_LOCKOUT_PARAMETERS = "notify.logins.counted_by"
AXES_CLIENT_IP_CALLABLE = "notify.admin.login.client_address"
AXES_LOCKOUT_CALLABLE = "notify.admin.login.locked_out"
#: notify.logins does it: axes would end the count of the address, failures to other users among it.
AXES_RESET_ON_SUCCESS = False
#: What is tried while it is locked is not written down: the table stays small, and the lock ends.
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_ENABLE_ADMIN = AXES_VERBOSE = False


#: A PostgreSQL whose host is gone without a word is given up after about 10 s: with the kernel's own
#: times a session waits for its answer for hours. The URL may say otherwise.
_KEEPALIVE = {
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}


#: How long bridge, workers, watcher and the admin's pages wait for an answer of PostgreSQL, whatever its
#: connection says: longer than the 30 s after which PostgreSQL itself ends a statement.
NOTIFY_POSTGRES_DEADLINE_MS = env.integer("NOTIFY_POSTGRES_DEADLINE_MS", 35_000, least=1)
#: The same of the API's reads, which take milliseconds and hold up a request.
NOTIFY_READ_DEADLINE_MS = env.integer("NOTIFY_READ_DEADLINE_MS", 5_000, least=1)
#: What one answer of theirs shows; `warnings` in it says what is not shown.
NOTIFY_READ_SUBSCRIPTIONS = env.integer("NOTIFY_READ_SUBSCRIPTIONS", 100, least=1)
NOTIFY_READ_TAGS = env.integer("NOTIFY_READ_TAGS", 1_000, least=1)
NOTIFY_READ_ALIASES = env.integer("NOTIFY_READ_ALIASES", 100, least=1)


def _database(url: str) -> dict[str, Any]:
    try:
        parts = dict(conninfo_to_dict(url))
    except ProgrammingError as error:
        raise ImproperlyConfigured(f"DATABASE_URL is not a PostgreSQL URL: {error}") from None
    return {
        "ENGINE": "notify.postgres_backend",
        "NAME": parts.pop("dbname", "notify"),
        "USER": parts.pop("user", ""),
        "PASSWORD": parts.pop("password", ""),
        "HOST": parts.pop("host", ""),
        "PORT": parts.pop("port", ""),
        "OPTIONS": _KEEPALIVE | parts,
        "CONN_MAX_AGE": 0,
    }


DATABASES = {"default": _database(env.secret("DATABASE_URL", "postgresql://localhost/notify"))}
REDIS_URL = env.secret("REDIS_URL", "redis://localhost:6379/0")
KAFKA_BOOTSTRAP_SERVERS = env.texts("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")
#: What every client of Kafka gets beside the servers; contradictory settings end the process here.
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
#: Of a topic that `topic create` makes.
NOTIFY_PARTITIONS = env.integer("NOTIFY_PARTITIONS", 8, least=1)
NOTIFY_REPLICATION = env.integer("NOTIFY_REPLICATION", 1, least=1)
#: 0 is one less than the replicas, so that one broker may be away.
NOTIFY_MIN_INSYNC = env.integer("NOTIFY_MIN_INSYNC", 0)
NOTIFY_RETENTION_HOURS = env.integer("NOTIFY_RETENTION_HOURS", 168, least=1)
#: Lanes of a new stream: about 2-4 for each worker process.
NOTIFY_LANES = env.integer("NOTIFY_LANES", 8, least=1)

# The window (rule 14 of docs/protocol.md).
NOTIFY_WINDOW_OFFSETS = env.integer("NOTIFY_WINDOW_OFFSETS", window.WINDOW_OFFSETS, least=1)
NOTIFY_WINDOW_BYTES = env.integer("NOTIFY_WINDOW_BYTES", window.WINDOW_BYTES, least=1)
NOTIFY_CHUNK_MESSAGES = env.integer("NOTIFY_CHUNK_MESSAGES", window.CHUNK_MESSAGES, least=1)
NOTIFY_CHUNK_BYTES = env.integer("NOTIFY_CHUNK_BYTES", window.CHUNK_BYTES, least=1)
NOTIFY_TASK_ROWS = env.integer("NOTIFY_TASK_ROWS", window.TASK_ROWS, least=1)
NOTIFY_TASK_BYTES = env.integer("NOTIFY_TASK_BYTES", window.TASK_BYTES, least=1)

# The bridge.
#: What one fetch brings from one broker, a quarter of it of one partition; a larger message comes alone.
NOTIFY_FETCH_BYTES = env.integer("NOTIFY_FETCH_BYTES", 1024 * 1024, least=1)
#: A partition whose fetches bring nothing for so long, though its log goes on: the bridge connects anew.
NOTIFY_UNREAD_AFTER_MS = env.integer("NOTIFY_UNREAD_AFTER_MS", 10_000, least=1_000)
#: A batch that has not landed is sent again after this, then after twice as long, up to the most.
NOTIFY_RESEND_AFTER_MS = env.integer("NOTIFY_RESEND_AFTER_MS", 2_000, least=1)
NOTIFY_RESEND_AFTER_MAX_MS = env.integer("NOTIFY_RESEND_AFTER_MAX_MS", 8_000, least=1)
#: How long a bridge that was told to stop waits for batches in flight.
NOTIFY_DRAIN_MS = env.integer("NOTIFY_DRAIN_MS", 5_000)
NOTIFY_SESSION_TIMEOUT_MS = env.integer("NOTIFY_SESSION_TIMEOUT_MS", 6_000, least=1)
NOTIFY_HEARTBEAT_MS = env.integer("NOTIFY_HEARTBEAT_MS", 1_000, least=1)
#: Records that the bridge counts, a partition and 10-second bucket (space-saving).
NOTIFY_HOT_RECORDS = env.integer("NOTIFY_HOT_RECORDS", 200, least=1)
#: Apps that it counts in the same way.
NOTIFY_HOT_APPS = env.integer("NOTIFY_HOT_APPS", 200, least=1)
#: Records of an app, by reason, whose refused links and aliases are listed in ten seconds; what is refused
#: of others is counted without the record.
NOTIFY_REFUSED_RECORDS = env.integer("NOTIFY_REFUSED_RECORDS", 200, least=0)
#: How long skipped updates and dead letters are kept.
NOTIFY_DROPPED_DAYS = env.integer("NOTIFY_DROPPED_DAYS", 90, least=1)
NOTIFY_PLAN_LOG_DAYS = env.integer("NOTIFY_PLAN_LOG_DAYS", 30, least=1)
#: How long a client's message id is remembered, so that its retry adds to no counter; 0 is off.
NOTIFY_SEEN_HOURS = env.integer("NOTIFY_SEEN_HOURS", 1, most=24)
NOTIFY_HOT_HOURS = env.integer("NOTIFY_HOT_HOURS", 24, least=1)

# The workers.
NOTIFY_LOCK_TIMEOUT_MS = env.integer("NOTIFY_LOCK_TIMEOUT_MS", 2_000, least=1)

# Replays.
#: Dead letters that are sent again at a time, and skipped updates a step of a replay.
NOTIFY_REPLAY_MESSAGES = env.integer("NOTIFY_REPLAY_MESSAGES", 1_000, least=1)

# Imports.
#: Updates a second of `manage.py import` at most; 0 is no bound.
NOTIFY_IMPORT_UPDATES_PER_S = env.integer("NOTIFY_IMPORT_UPDATES_PER_S", 1_000)

# The web edge.
#: How long an update waits to hear from PostgreSQL whether its record was deleted. Past it it is taken.
NOTIFY_LOOKUP_DEADLINE_MS = env.integer("NOTIFY_LOOKUP_DEADLINE_MS", 500, least=1)
#: HMAC key of app keys at rest; `check --deploy` (notify.E002) refuses an empty one.
NOTIFY_KEY_PEPPER = env.secret("NOTIFY_KEY_PEPPER", "")
NOTIFY_APPS_REFRESH_MS = env.integer("NOTIFY_APPS_REFRESH_MS", 1_000, least=10)
NOTIFY_BODY_BYTES = env.integer("NOTIFY_BODY_BYTES", 32 * 1024, least=1)
NOTIFY_BATCH_BYTES = env.integer("NOTIFY_BATCH_BYTES", 500 * 1024, least=1)
NOTIFY_BATCH_UPDATES = env.integer("NOTIFY_BATCH_UPDATES", 500, least=1)
#: Bytes handed to the producer and not yet acked, past which requests get 503.
NOTIFY_PRODUCER_BYTES = env.integer("NOTIFY_PRODUCER_BYTES", 32 * 1024 * 1024, least=1)
NOTIFY_ACK_TIMEOUT_MS = env.integer("NOTIFY_ACK_TIMEOUT_MS", 10_000, least=1)
NOTIFY_RETRY_AFTER_S = env.integer("NOTIFY_RETRY_AFTER_S", 5, least=1)
#: Seconds by which the clock of an app's server may be off, and that a token may live.
NOTIFY_IDENTITY_LEEWAY_S = env.integer("NOTIFY_IDENTITY_LEEWAY_S", 30)
NOTIFY_IDENTITY_LIFETIME_S = env.integer("NOTIFY_IDENTITY_LIFETIME_S", 86_400, least=1)
#: Characters of a token, and verified tokens that a process remembers.
NOTIFY_IDENTITY_TOKEN_CHARS = env.integer("NOTIFY_IDENTITY_TOKEN_CHARS", 4_096, least=1)
NOTIFY_IDENTITY_TOKENS = env.integer("NOTIFY_IDENTITY_TOKENS", 10_000)
#: How old a tick or a sample may be, and how long decided updates may wait for workers, before the
#: partition is said to be in trouble.
NOTIFY_STALLED_AFTER_MS = env.integer("NOTIFY_STALLED_AFTER_MS", 6_000, least=1)
#: Limits a second, 0 for none: of an app, shared by all web processes; of a record.
NOTIFY_LIMIT_REQUESTS_PER_S = env.integer("NOTIFY_LIMIT_REQUESTS_PER_S", 1_000)
NOTIFY_LIMIT_UPDATES_PER_S = env.integer("NOTIFY_LIMIT_UPDATES_PER_S", 100_000)
NOTIFY_LIMIT_RECORD_UPDATES_PER_S = env.integer("NOTIFY_LIMIT_RECORD_UPDATES_PER_S", 0)
#: What of a limit one web process admits while Redis is away and it counts alone.
NOTIFY_LIMIT_LOCAL_PERCENT = env.integer("NOTIFY_LIMIT_LOCAL_PERCENT", 50, least=1, most=100)
#: How long a request may wait for Redis to count it; after a failure Redis is not asked for 1 s.
NOTIFY_LIMIT_REDIS_TIMEOUT_MS = env.integer("NOTIFY_LIMIT_REDIS_TIMEOUT_MS", 50, least=1)
#: Members of all objects and lists in one request body.
NOTIFY_BODY_MEMBERS = env.integer("NOTIFY_BODY_MEMBERS", 100_000, least=1)
DATA_UPLOAD_MAX_MEMORY_SIZE = NOTIFY_BATCH_BYTES

# What is wrong now (notify/findings): from when on it is said.
#: A record with so much of all updates; and a second, so that a quiet night is no alarm.
NOTIFY_FIND_RECORD_PERCENT = env.integer("NOTIFY_FIND_RECORD_PERCENT", 15, least=1, most=100)
NOTIFY_FIND_UPDATES_PER_S = env.integer("NOTIFY_FIND_UPDATES_PER_S", 20)
#: An app with so much of all updates, and so many times what it sent in the hour before.
NOTIFY_FIND_APP_PERCENT = env.integer("NOTIFY_FIND_APP_PERCENT", 40, least=1, most=100)
NOTIFY_FIND_APP_FACTOR = env.integer("NOTIFY_FIND_APP_FACTOR", 3, least=1)
#: Requests of one app that its rate limits refuse a second.
NOTIFY_FIND_REFUSED_PER_S = env.integer("NOTIFY_FIND_REFUSED_PER_S", 5, least=1)
#: Links, or aliases, of one app that its link limits refuse a second.
NOTIFY_FIND_LINKS_REFUSED_PER_S = env.integer("NOTIFY_FIND_LINKS_REFUSED_PER_S", 5, least=1)
#: Values that are left out of one app's requests a second: tags past a limit, names that are none.
NOTIFY_FIND_LEFT_OUT_PER_S = env.integer("NOTIFY_FIND_LEFT_OUT_PER_S", 5, least=1)
#: Requests that web answers 503 a second, for so long.
NOTIFY_FIND_UNAVAILABLE_PER_S = env.integer("NOTIFY_FIND_UNAVAILABLE_PER_S", 1, least=1)
NOTIFY_FIND_UNAVAILABLE_S = env.integer("NOTIFY_FIND_UNAVAILABLE_S", 10)
#: An app over many records is named from so many updates a second on, counted when web accepted them.
NOTIFY_FIND_APP_UPDATES_PER_S = env.integer("NOTIFY_FIND_APP_UPDATES_PER_S", 50)
NOTIFY_FIND_LAG_S = env.integer("NOTIFY_FIND_LAG_S", 30, least=1)
#: A watcher that PostgreSQL has not answered for so long tells that, without PostgreSQL.
NOTIFY_FIND_POSTGRES_S = env.integer("NOTIFY_FIND_POSTGRES_S", 30, least=1)

#: After a topic was created or a bridge started, a partition may be without a tick for so long.
NOTIFY_START_GRACE_S = env.integer("NOTIFY_START_GRACE_S", 30)

# Watching (`manage.py watch`) and telling.
#: A worker that nobody heard of for so long is taken off the list.
NOTIFY_WORKER_FORGET_S = env.integer("NOTIFY_WORKER_FORGET_S", 3_600, least=1)
#: An alert closes when what it is of was gone for so long.
NOTIFY_ALERT_CLOSE_S = env.integer("NOTIFY_ALERT_CLOSE_S", 30)
#: Closed alerts: nobody is told of one any more after so many hours; it is kept for so many days.
NOTIFY_ALERT_HOURS = env.integer("NOTIFY_ALERT_HOURS", 24, least=1)
NOTIFY_ALERT_DAYS = env.integer("NOTIFY_ALERT_DAYS", 30, least=1)
#: Messages to the webhook, and e-mails.
NOTIFY_ALERTS_PER_HOUR = env.integer("NOTIFY_ALERTS_PER_HOUR", 60, least=1)
NOTIFY_ALERT_TIMEOUT_S = EMAIL_TIMEOUT = env.integer("NOTIFY_ALERT_TIMEOUT_S", 5, least=1)
NOTIFY_ALERT_WEBHOOK_URL = alert_receivers.checked_url(
    "NOTIFY_ALERT_WEBHOOK_URL", env.secret("NOTIFY_ALERT_WEBHOOK_URL", "")
)
#: HMAC key of the webhook's signature; empty: it is not signed.
NOTIFY_ALERT_WEBHOOK_SECRET = env.secret("NOTIFY_ALERT_WEBHOOK_SECRET", "")
#: Gets a POST so often while the watcher that acts looks; who misses it tells people. Empty: nobody does.
NOTIFY_WATCH_HEARTBEAT_URL = alert_receivers.checked_url(
    "NOTIFY_WATCH_HEARTBEAT_URL", env.secret("NOTIFY_WATCH_HEARTBEAT_URL", "")
)
NOTIFY_WATCH_HEARTBEAT_S = env.integer("NOTIFY_WATCH_HEARTBEAT_S", 60, least=1)
#: The mail server; a user and a password may stand in it.
_MAIL = alert_receivers.mail_server(env.secret("NOTIFY_EMAIL_URL", ""))
EMAIL_HOST, EMAIL_PORT, EMAIL_HOST_USER, EMAIL_HOST_PASSWORD, EMAIL_USE_TLS, EMAIL_USE_SSL = _MAIL
DEFAULT_FROM_EMAIL = env.text("NOTIFY_EMAIL_FROM", "notify@localhost")
NOTIFY_ALERT_EMAILS = alert_receivers.checked_emails(env.texts("NOTIFY_ALERT_EMAILS", ""), _MAIL)
#: Where people open the admin, without /admin/: links in alerts begin with it.
NOTIFY_ADMIN_URL = admin_theme.checked_link("NOTIFY_ADMIN_URL", env.text("NOTIFY_ADMIN_URL", ""))

#: Port of /metrics in bridge and workers (web serves it itself); 0 is off.
NOTIFY_METRICS_PORT = env.integer("NOTIFY_METRICS_PORT", 0)
#: How long a bridge's loop or a worker's task may take before /healthz/progress says that it hangs.
NOTIFY_PROGRESS_AFTER_MS = env.integer("NOTIFY_PROGRESS_AFTER_MS", 8_000, least=1)
#: Spans by OpenTelemetry, and how many messages of a bridge wait for theirs at a time.
NOTIFY_OTEL = tracing.checked(is_on=env.flag("NOTIFY_OTEL", default=False))
NOTIFY_OTEL_MESSAGES = env.integer("NOTIFY_OTEL_MESSAGES", 10_000, least=1)
NOTIFY_LOG_LEVEL = env.text("NOTIFY_LOG_LEVEL", "INFO")
#: A line for each update that Kafka acked, where `trail` begins.
NOTIFY_LOG_ACKS = env.flag("NOTIFY_LOG_ACKS", default=True)
#: Where `trail` asks for log lines; a user and a password may stand in it. Empty: it needs --logs.
NOTIFY_LOKI_URL = env.secret("NOTIFY_LOKI_URL", "")
LOGGING_CONFIG = None
