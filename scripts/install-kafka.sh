#!/bin/sh
# Fetches Kafka into the cache and prints its directory: the broker and its command-line tools.
#
#   scripts/install-kafka.sh
#
# Debian has no Kafka, and the public archive is no package registry. The artefacts of Maven Central are the same jars:
# `org.apache.kafka:kafka_2.13` is the broker with all that it needs, `kafka-tools` what `kafka-topics.sh` and the others
# run. A half-finished download is never taken for a whole one: the directory is renamed into place at the end.
set -eu

line=4.3
# What the image catalogue's `kafka:4.3` asks for.
version=4.3.1
cache="${FERRISWHEEL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ferriswheel}"
target="$cache/kafka/$line"
broker="libs/kafka_2.13-$version.jar"

if [ -e "$target/$broker" ]; then
    echo "$target"
    exit 0
fi
if ! java -version 2>&1 | grep -Eq 'version "(1[7-9]|[2-9][0-9])'; then
    echo "Java 17 or newer is missing; run: apt-get install -y --no-install-recommends openjdk-17-jre-headless" >&2
    exit 1
fi
if ! command -v mvn >/dev/null 2>&1; then
    echo "Maven is missing; run: apt-get install -y --no-install-recommends maven" >&2
    exit 1
fi

mkdir -p "$cache/kafka"
# A second caller waits for the first instead of fetching beside it.
exec 9>"$cache/kafka/$line.lock"
if command -v flock >/dev/null 2>&1; then
    flock 9
fi
if [ -e "$target/$broker" ]; then
    echo "$target"
    exit 0
fi

echo "fetching Kafka $version into $target (50 MB, once)" >&2
work="$(mktemp -d "$cache/kafka/.$line.XXXXXX")"
trap 'rm -rf "$work"' EXIT INT TERM
# slf4j-simple and no other: the log on standard error, without a configuration of its own.
cat > "$work/pom.xml" <<EOT
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>dev.ferriswheel</groupId>
  <artifactId>kafka</artifactId>
  <version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$version</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>$version</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
EOT
# A repository of its own, gone afterwards: nobody's own one is filled, or relied upon. The plug-in is named with its version,
# so that the same one is used whatever Maven this is.
if ! mvn --batch-mode --quiet --strict-checksums --file "$work/pom.xml" -Dmaven.repo.local="$work/repository" \
    org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
    -DincludeScope=runtime -DexcludeArtifactIds=slf4j-reload4j -DoutputDirectory="$work/$line/libs" >&2; then
    echo "failed to fetch Kafka; run it again when a Maven repository can be reached: scripts/install-kafka.sh" >&2
    exit 1
fi
if [ ! -e "$work/$line/$broker" ]; then
    echo "what Maven fetched has no $broker" >&2
    exit 1
fi
# Servers run as users who may not look into a private cache otherwise.
chmod -R a+rX "$work/$line"
rm -rf "$target"
mv -T "$work/$line" "$target"
echo "$target"
