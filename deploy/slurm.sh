#!/bin/bash
# sbatch deploy/slurm.sh resnet50_imagenet2012 --batch-size 1024
#
# One task a node, which takes all GPUs that Slurm lets it see; task k of a node listens at port 8888 + k. Submit from a
# folder that all nodes see: the run's folder, runs/…, is written by the first task and read by all when a run resumes.
# TFDS_DATA_DIR holds the data, on each node or shared. Submit it again to resume the run from its last checkpoint.
#SBATCH --job-name=zoo
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=16
#SBATCH --exclusive
#SBATCH --time=24:00:00
set -eu
: "${TFDS_DATA_DIR:?is not set: where TensorFlow Datasets are prepared}"
export TFDS_DATA_DIR
unset TF_CONFIG
srun --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" --kill-on-bad-exit=1 zoo train "$@" --cluster slurm
