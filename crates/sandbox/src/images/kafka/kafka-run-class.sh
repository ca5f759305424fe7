#!/bin/bash
# Runs a class of Kafka in this process's place. Small and quick to start unless the variables of the public image say otherwise.
# Tools say what is wrong and nothing else; kafka-server-start.sh asks for the whole log.
exec java ${KAFKA_HEAP_OPTS:--Xmx256M} ${KAFKA_JVM_PERFORMANCE_OPTS:--XX:+UseSerialGC -XX:TieredStopAtLevel=1} \
    -XX:-UsePerfData "-Dorg.slf4j.simpleLogger.defaultLogLevel=${KAFKA_RUN_CLASS_LOG:-warn}" ${KAFKA_OPTS:-} -cp '/opt/kafka/libs/*' "$@"
