#!/usr/bin/env bash
# Submits a run as batch jobs:     NUM_JOBS=20 bash submit.sh
# Submits only what is missing:    bash submit.sh --resume RUN_DIR
# Says how far the jobs are:       bash submit.sh --status RUN_DIR
# Prints the job scripts only:     DRY_RUN=1 bash submit.sh
#
# One array each for parsing, masses, and post-processing with histograms, then the merge. A job
# looks itself whether what it needs is complete, by our own reports: a scheduler's "ended well" is
# not enough (PBS says so of an array in which some jobs failed). Hence `afterany` everywhere.
set -euo pipefail

# Each can be set in the environment instead.
CONFIG=${CONFIG:-config.yaml}
NUM_JOBS=${NUM_JOBS:-1}            # jobs per array; 1 is one plain job that does everything
RUN_DIR=${RUN_DIR:-}               # empty: a new one, named by the configuration
SCHEDULER=${SCHEDULER:-pbs}        # or slurm
JOB_ENVIRONMENT=${JOB_ENVIRONMENT:-auto}  # auto: .venv of the checkout, else LCG_VIEW; none: PYTHON as it is
LCG_VIEW=${LCG_VIEW:-/cvmfs/sft.cern.ch/lcg/views/LCG_106/x86_64-el9-gcc13-opt}
PYTHON=${PYTHON:-python3}          # used with JOB_ENVIRONMENT=none
CPUS=${CPUS:-4}                    # per job
MEMORY_GB=${MEMORY_GB:-8}
WALLTIME=${WALLTIME:-12:00:00}
QUEUE=${QUEUE:-}                   # PBS queue or Slurm partition; empty: the site's default
SITE_OPTIONS=${SITE_OPTIONS:-}     # further directives, one per line: '-l io=5'
DRY_RUN=${DRY_RUN:-0}

# The stages between two barriers are one array.
readonly GROUPS_OF_TASKS=(parsing mass_calculating 'post_processing,histogram_creation')
readonly GROUP_NAMES=(parse masses histograms)

fail() {
    printf 'submit.sh: %s\n' "$1" >&2
    exit "${2:-1}"
}

usage() {
    sed -n '2,5s/^# //p' "$0"
    exit "$1"
}

# Sets `environment`, the lines by which a job gets its Python, and `python`.
choose_environment() {
    local path=/usr/local/bin:/usr/bin:/bin
    case $JOB_ENVIRONMENT in
    auto)
        if [[ -x $checkout/.venv/bin/python ]]; then
            python=$checkout/.venv/bin/python
            printf -v environment 'unset PYTHONPATH PYTHONHOME\nexport PATH=%q' "$checkout/.venv/bin:$path"
        elif [[ -r $LCG_VIEW/setup.sh ]]; then
            python=python3
            # The view's script uses variables that are not set.
            printf -v environment 'unset PYTHONPATH PYTHONHOME\nexport PATH=%q\nset +u\nsource %q\nset -u' \
                "$path" "$LCG_VIEW/setup.sh"
        else
            fail "expected $checkout/.venv (make it with \`make test\`) or $LCG_VIEW (LCG_VIEW), found neither; or set JOB_ENVIRONMENT=none and PYTHON" 2
        fi
        ;;
    none)
        python=$(command -v "$PYTHON") || fail "PYTHON=$PYTHON: expected a program, found none" 2
        python=$(cd "$(dirname "$python")" && pwd)/$(basename "$python")
        printf -v environment 'export PATH=%q' "$(dirname "$python"):$path"
        ;;
    *) fail "JOB_ENVIRONMENT=$JOB_ENVIRONMENT: expected auto or none" 2 ;;
    esac
}

# Runs Python on this node in the environment of the jobs.
in_environment() {
    bash -c "$environment"$'\nexec "$@"' bash "$python" "$@"
}

# The same without anything of this shell, as a job begins.
check_environment() {
    local check=$'set -eu\n'$environment$'\nexec "$@"'
    (cd "$checkout" && env -i HOME="$HOME" bash --noprofile --norc -c "$check" bash \
        "$python" -m services.requirements) ||
        fail 'the environment of the jobs cannot run this program; nothing was submitted' 2
}

# job_script NAME N COMMAND: the script of a plain job (N = 0), or of an array of N jobs.
job_script() {
    local name=$1 n=$2 command=$3 option
    printf '#!/usr/bin/env bash\n'
    case $SCHEDULER in
    pbs)
        printf '#PBS -N %s\n' "$name"
        [[ -z $QUEUE ]] || printf '#PBS -q %s\n' "$QUEUE"
        printf '#PBS -l select=1:ncpus=%s:mem=%sgb\n' "$CPUS" "$MEMORY_GB"
        printf '#PBS -l walltime=%s\n#PBS -j oe\n#PBS -o %s/\n' "$WALLTIME" "$logs"
        [[ $n -eq 0 ]] || printf '#PBS -J 1-%s\n' "$n"
        ;;
    slurm)
        printf '#SBATCH --job-name=%s\n' "$name"
        [[ -z $QUEUE ]] || printf '#SBATCH --partition=%s\n' "$QUEUE"
        printf '#SBATCH --ntasks=1\n#SBATCH --cpus-per-task=%s\n#SBATCH --mem=%sG\n' "$CPUS" "$MEMORY_GB"
        printf '#SBATCH --time=%s\n' "$WALLTIME"
        if [[ $n -eq 0 ]]; then
            printf '#SBATCH --output=%s/%%x.%%j.out\n' "$logs"
        else
            printf '#SBATCH --output=%s/%%x.%%A_%%a.out\n#SBATCH --array=1-%s\n' "$logs" "$n"
        fi
        ;;
    esac
    while IFS= read -r option; do
        [[ -z $option ]] || printf '#%s %s\n' "$directive" "$option"
    done <<<"$SITE_OPTIONS"
    printf 'set -eu\ncd "$%s"\n%s\n%s\n' "$submit_dir_variable" "$environment" "$command"
}

# main_command ARGUMENTS...: the line that runs the program, each argument quoted.
main_command() {
    printf 'exec'
    printf ' %q' "$python" "$checkout/main.py" --run-dir "$run_dir" "$@"
}

# array_command TOTAL TASKS SLICES...: the same for one slice; an array counts positions.
array_command() {
    local total=$1 tasks=$2
    shift 2
    if [[ $# -eq 1 ]]; then
        printf 'slice=%s\n' "$1"
    elif [[ $# -eq $total ]]; then
        printf 'slice=$%s\n' "$index_variable"
    else
        # shellcheck disable=SC2016 # expanded in the job
        printf 'slices=(%s)\nslice=${slices[%s - 1]}\n' "$*" "$index_variable"
    fi
    main_command --total-batch-jobs "$total" --tasks "$tasks"
    # shellcheck disable=SC2016 # expanded in the job
    printf ' --batch-job-index "$slice"\n'
}

submitted=()

# hand_over NAME SCRIPT: submits behind the last job; the first one is held. Adds to `submitted`.
hand_over() {
    local name=$1 script=$2 options=() answer id n=${#submitted[@]}
    case $SCHEDULER in
    pbs)
        # Where finished jobs are forgotten, a head that ends at once would take the rest with it.
        if [[ $n -eq 0 ]]; then options=(-h); else options=(-W "depend=afterany:${submitted[n - 1]}"); fi
        answer=$(qsub "${options[@]}" "$script") || return 1
        ;;
    slurm)
        if [[ $n -eq 0 ]]; then options=(--hold); else options=("--dependency=afterany:${submitted[n - 1]}"); fi
        answer=$(sbatch --parsable "${options[@]}" "$script") || return 1
        answer=${answer%%;*}
        ;;
    esac
    # Sites print greetings before it.
    id=${answer##*$'\n'}
    if [[ ! $id =~ ^[0-9]+(\[\])?(\..+)?$ ]]; then
        printf 'submit.sh: expected the number of a job, found: %s\n' "$answer" >&2
        return 1
    fi
    submitted+=("$id")
    printf '%s %s\n' "$name" "$id" | tee -a "$scripts/job_ids"
}

# One call per job: a PBS server was seen to die of an unknown number behind a known one.
withdraw() {
    local n id
    # The last one first: with a job those behind it are gone too.
    for ((n = ${#submitted[@]} - 1; n >= 0; n--)); do
        id=${submitted[n]}
        case $SCHEDULER in
        pbs) qdel "$id" ;;
        slurm) scancel "$id" ;;
        esac || printf 'submit.sh: job %s could not be removed: remove it by hand\n' "$id" >&2
    done
    submitted=()
}

release() {
    case $SCHEDULER in
    pbs) qrls "$1" ;;
    slurm) scontrol release "$1" ;;
    esac
}

names=()
bodies=()
sizes=()

add_job() {
    names+=("$1")
    sizes+=("$2")
    bodies+=("$3")
}

# list_missing TASKS: prints the number of jobs, the tasks that the run has, and what is missing.
list_missing() {
    in_environment "$checkout/main.py" --list-missing --run-dir "$run_dir" --tasks "$1"
}

# common TASKS OTHERS: prints those tasks that are also among the others.
common() {
    local task found=
    for task in ${1//,/ }; do
        [[ ,$2, != *,$task,* ]] || found+=,$task
    done
    printf '%s\n' "${found#,}"
}

# Fills names, sizes and bodies: with everything, or, to resume, with what is missing.
plan_chain() {
    local group line total=$NUM_JOBS all tasks slices
    all=$(IFS=,; printf '%s' "${GROUPS_OF_TASKS[*]}")
    if [[ -d $run_dir ]]; then
        # It may have been cut otherwise, and have fewer stages.
        line=$(list_missing "$all") || exit
        read -r total all _ <<<"$line"
    fi
    if [[ $total -eq 1 ]]; then
        add_job pipeline 0 "$(main_command)"
        return
    fi
    for group in "${!GROUPS_OF_TASKS[@]}"; do
        tasks=$(common "${GROUPS_OF_TASKS[group]}" "$all")
        [[ -n $tasks ]] || continue
        if [[ $mode == resume ]]; then
            line=$(list_missing "$tasks") || exit
            read -r _ _ line <<<"$line"
        else
            line=$(seq -s ' ' "$total")
        fi
        read -r -a slices <<<"$line"
        case ${#slices[@]} in
        0) ;;
        # PBS has no array of one job.
        1) add_job "${GROUP_NAMES[group]}" 0 "$(array_command "$total" "$tasks" "${slices[@]}")" ;;
        *) add_job "${GROUP_NAMES[group]}" "${#slices[@]}" "$(array_command "$total" "$tasks" "${slices[@]}")" ;;
        esac
    done
    add_job merge 0 "$(main_command --merge-only)"
}

print_chain() {
    local number
    for number in "${!names[@]}"; do
        printf '== %s.sh' "${names[number]}"
        [[ $number -eq 0 ]] || printf ', after %s, however that ends' "${names[number - 1]}"
        printf '\n%s\n\n' "$(job_script "${names[number]}" "${sizes[number]}" "${bodies[number]}")"
    done
}

submit_chain() {
    local number script
    mkdir -p "$logs"
    scripts=$(mktemp -d "$logs/jobs_$(date +%Y%m%d_%H%M%S)_XXX")
    chmod a+rx "$scripts"
    # Whatever stops this script half-way: no job is left that nobody knows of.
    trap withdraw EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    for number in "${!names[@]}"; do
        script=$scripts/${names[number]}.sh
        job_script "${names[number]}" "${sizes[number]}" "${bodies[number]}" >"$script"
        hand_over "${names[number]}" "$script" ||
            fail "${names[number]} could not be submitted; what was submitted is removed. Later: bash submit.sh --resume $run_dir"
    done
    release "${submitted[0]}" ||
        fail "${submitted[0]} could not be released; what was submitted is removed. Later: bash submit.sh --resume $run_dir"
    trap - EXIT INT TERM
    printf 'run directory: %s\nhow far it is: bash %s --status %s\n' "$run_dir" "$0" "$run_dir"
}

require_programs() {
    local program
    for program in "$@"; do
        command -v "$program" >/dev/null ||
            fail "$program is not on PATH: submit from a node that has $SCHEDULER, or set SCHEDULER" 2
    done
}

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
case $SCHEDULER in
pbs)
    programs=(qsub qrls qdel)
    directive=PBS index_variable=PBS_ARRAY_INDEX submit_dir_variable=PBS_O_WORKDIR
    ;;
slurm)
    programs=(sbatch scontrol scancel)
    directive=SBATCH index_variable=SLURM_ARRAY_TASK_ID submit_dir_variable=SLURM_SUBMIT_DIR
    ;;
*) fail "SCHEDULER=$SCHEDULER: expected pbs or slurm" 2 ;;
esac
[[ $NUM_JOBS =~ ^[1-9][0-9]*$ ]] || fail "NUM_JOBS=$NUM_JOBS: expected a number from 1" 2
run_dir=$RUN_DIR

mode=new
if [[ $# -gt 0 ]]; then
    case $1 in
    --resume | --status)
        [[ $# -eq 2 ]] || usage 2 >&2
        mode=${1#--} run_dir=$2
        [[ -f $run_dir/config.yaml ]] || fail "$run_dir: expected a run's directory, found none" 2
        ;;
    -h | --help) usage 0 ;;
    *) usage 2 >&2 ;;
    esac
fi

choose_environment
if [[ $mode == status ]]; then
    in_environment "$checkout/main.py" --status --run-dir "$run_dir"
    exit
fi
if [[ $DRY_RUN == 1 ]]; then
    [[ -n $run_dir ]] || run_dir=$PWD/RUN_DIR
else
    require_programs "${programs[@]}"
    check_environment
fi
if [[ $mode == new && $DRY_RUN != 1 ]]; then
    options=(--fetch-only --config "$CONFIG")
    [[ -z $run_dir ]] || options+=(--run-dir "$run_dir")
    [[ $NUM_JOBS -eq 1 ]] || options+=(--total-batch-jobs "$NUM_JOBS")
    # Here, since the nodes of the jobs may have no network.
    answer=$(in_environment "$checkout/main.py" "${options[@]}") || exit
    run_dir=${answer##*run directory: }
fi
if [[ -d $run_dir ]]; then run_dir=$(cd "$run_dir" && pwd); fi
[[ ! $run_dir =~ [[:space:]] ]] ||
    fail "$run_dir: expected a path without white space, which directives cannot hold; choose another one" 2
logs=$run_dir/logs
plan_chain
if [[ $DRY_RUN == 1 ]]; then print_chain; else submit_chain; fi
