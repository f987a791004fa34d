#!/usr/bin/env bash
# Builds the newest release of nchan as a module for the nginx that is installed: bench/peers/server/nchan/build.sh
#
# Debian's package has an older release. This needs git, make, gcc and the package libpcre2-dev. NCHAN and NGINX name other places
# than GitHub to clone from. The module stays beside this file; the comparison uses it instead of the package's.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly release=1.3.7 # of September 2024, the newest
nginx=$(PATH="$PATH:/usr/sbin" nginx -v 2>&1 | sed 's|.*nginx/\([0-9.]*\).*|\1|')

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git -c advice.detachedHead=false clone --quiet --depth 1 --branch "v$release" "${NCHAN:-https://github.com/slact/nchan}" "$work/nchan"
git -c advice.detachedHead=false clone --quiet --depth 1 --branch "release-$nginx" "${NGINX:-https://github.com/nginx/nginx}" "$work/nginx"
cd "$work/nginx"
# With --with-compat the module fits a binary that was built with other options.
./auto/configure --with-compat --with-pcre-jit --add-dynamic-module=../nchan >"$work/log" || { cat "$work/log" >&2; exit 1; }
make -j2 modules >>"$work/log" 2>&1 || { tail -40 "$work/log" >&2; exit 1; }
cd - >/dev/null
cp "$work/nginx/objs/ngx_nchan_module.so" .
echo "$release" >version
echo "built: $PWD/ngx_nchan_module.so, nchan $release for nginx $nginx"
