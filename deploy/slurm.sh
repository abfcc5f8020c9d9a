#!/bin/bash
# sbatch deploy/slurm.sh resnet50_imagenet2012 --batch-size 1024
#
# One task per node uses all GPUs that Slurm assigns to it; task k of a node listens on port 8888 + k. Submit from a
# folder that all nodes can access: the first task writes the run's folder, runs/…, and all read it when a run resumes.
# TFDS_DATA_DIR is the folder of the data, on each node or shared. Submit it again to resume from the last checkpoint.
#SBATCH --job-name=zoo
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=16
#SBATCH --exclusive
#SBATCH --time=24:00:00
set -eu
: "${TFDS_DATA_DIR:?is not set; set it to the folder of the prepared TensorFlow Datasets}"
export TFDS_DATA_DIR
unset TF_CONFIG
srun --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" --kill-on-bad-exit=1 zoo train "$@" --cluster slurm
