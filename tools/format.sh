#!/usr/bin/env bash
# format: are all sources as clang-format leaves them?
set -euo pipefail
cd "$(dirname "$0")/.."
git ls-files 'src/*.[ch]' 'tests/*.[ch]' | xargs clang-format --dry-run --Werror
