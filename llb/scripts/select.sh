# Sorts the files of the tree in /src into folders of /out. Arguments are groups
# that each begin with -- and the folder's name; what follows are paths and shell
# patterns from the tree's top. One that matches nothing is passed by: trees
# differ, and a step that misses a file says so itself. An exclamation mark
# before a path or pattern takes it out again of what came before it. A tilde before
# a folder takes it without what is compiled: headers, and whatever else is included
# or read, however deep.
set -eu
cd /src
folder=
for arg in "$@"; do
  case $arg in
  --) folder= ;;
  *)
    if [ -z "$folder" ]; then
      folder=/out/$arg
      mkdir -p "$folder"
      continue
    fi
    kept=yes
    case $arg in
    !*)
      # Unquoted, to be a pattern.
      (cd "$folder" && rm -rf -- ${arg#!})
      continue
      ;;
    ~*)
      arg=${arg#?} kept=
      ;;
    esac
    # Unquoted, to be a pattern.
    for f in $arg; do
      [ -e "$f" ] || continue
      case $folder in
      # Licences are wanted side by side, whatever folder they come from.
      */licenses/*) cp -P "$f" "$folder/" ;;
      *)
        case $f in */*) mkdir -p "$folder/${f%/*}" ;; esac
        # A folder may be there in part, from a pattern before.
        if [ -d "$f" ] && [ ! -L "$f" ]; then
          mkdir -p "$folder/$f"
          cp -RP "$f/." "$folder/$f/"
        else
          cp -P "$f" "$folder/$f"
        fi
        [ -n "$kept" ] || find "$folder/$f" -type f '(' -name '*.c' -o -name '*.cc' -o -name '*.cpp' -o -name '*.cxx' -o -name '*.cu' -o -name '*.m' -o -name '*.mm' -o -name '*.[sS]' -o -name '*.md' ')' -exec rm -f {} +
        ;;
      esac
    done
    ;;
  esac
done
# The files are keyed by their content; layers hold their times as well.
find /out -exec touch -h -d @0 {} +
