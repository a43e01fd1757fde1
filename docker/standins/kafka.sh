#!/bin/sh
# Stand-in for the start of apache/kafka: KAFKA_LOG_DIRS becomes log.dirs, the log is formatted once, and
# the broker replaces this shell. Not for production.
set -eu
settings=/tmp/server.properties
env | sed -n 's/^KAFKA_//p' | grep -v '^HEAP_OPTS=' | while IFS='=' read -r name value; do
    printf '%s=%s\n' "$(echo "$name" | tr 'A-Z_' 'a-z.')" "$value"
done >"$settings"
run() {
    java ${KAFKA_HEAP_OPTS:-} -XX:+UseSerialGC -Dlog4j2.configurationFile=/opt/kafka/log4j2.properties \
        -cp '/opt/kafka/libs/*' "$@"
}
[ -e "$KAFKA_LOG_DIRS/meta.properties" ] ||
    run kafka.tools.StorageTool format -t 4L6g3nShT-eMCtK--X86sw -c "$settings"
exec java ${KAFKA_HEAP_OPTS:-} -XX:+UseSerialGC -Dlog4j2.configurationFile=/opt/kafka/log4j2.properties \
    -cp '/opt/kafka/libs/*' kafka.Kafka "$settings"
