"""What the engine costs beside a bare loop, and what two devices cost beside one: ResNet-20 on CIFAR-10.

    python benchmarks/distribution.py

The recipe of `resnet20_cifar10_fast` in batches of 128. The bare loop is `strategy.run` of forward, gradient and
`optimizer.apply` under `tf.function`, ten steps a call, on the same net, optimizer, loss and input pipeline, with
nothing around it. The two devices are the CPU split in two, so that both ways share the same cores.
"""

import sys
import tempfile
from dataclasses import replace

from contest import Clock, contest, given, in_a_process

ROUNDS, EPOCHS, STEPS, BATCH = 2, 3, 50, 128  # the first epoch does not count
TWO = {"strategy": "mirrored", "logical_devices": 2}


def recipe():
    """The recipe in float32, cut to a few short epochs without warm-up and validation."""
    from zoo.recipe import load_recipe

    short = {"epochs": EPOCHS, "steps_per_epoch": STEPS, "steps_per_execution": 10, "validation_examples": 0}
    same = {"batch_size": BATCH, "keep": "last", "warmup_epochs": 0, "precision": "float32"}
    return replace(load_recipe("resnet20_cifar10_fast"), **same, **short)


def engine(devices: dict) -> list[float]:
    """Images per second of `zoo.run`."""
    import zoo
    from zoo.distribute.strategy import Devices

    clock = Clock()
    with tempfile.TemporaryDirectory() as scratch:
        zoo.run(recipe(), run_dir=f"{scratch}/run", devices=Devices(**devices), callbacks=[clock.watch()])
    return [STEPS * BATCH / seconds for seconds in clock.seconds[1:]]


def bare(devices: dict) -> list[float]:
    """Images per second of a bare loop."""
    import tensorflow as tf

    import zoo
    from zoo.distribute.sharding import shard_batches
    from zoo.distribute.strategy import Devices, choose_strategy
    from zoo.tasks.table import create_task
    from zoo.training.optimizers import matching, optimizer

    plan = recipe()
    placement = choose_strategy(Devices(**devices))
    task = create_task(plan, lambda text: None)
    task.prepare()
    with placement.strategy.scope():
        net = zoo.build(plan.model, **{**task.model_args(), **plan.model_args})
        paths = [weight.path for weight in net.trainable_variables]
        decayed = matching(plan.decayed_weights, paths, "decayed_weights")
        updates = optimizer(plan, STEPS, paths)
        updates.build(net.trainable_variables)
    weights = [weight.value for weight in net.trainable_variables if weight.path in decayed]

    def step(batch):
        with tf.GradientTape() as tape:
            total, _ = task.loss(batch, net(batch["inputs"], training=True))
            penalty = plan.weight_decay * tf.add_n([tf.nn.l2_loss(weight) for weight in weights])
            loss = total / BATCH + penalty / placement.replicas
        updates.apply(tape.gradient(loss, net.trainable_variables), net.trainable_variables)

    @tf.function(autograph=False)
    def steps(batches):
        def one(done):
            placement.strategy.run(step, args=(next(batches),))
            return done + 1

        tf.while_loop(lambda done: done < 10, one, [tf.constant(0)])

    batches, clock = iter(shard_batches(task.training_batches(0), placement, BATCH)), Clock()
    for _ in range(EPOCHS):
        clock.start()
        for _ in range(STEPS // 10):
            steps(batches)
        clock.stop()
    return [STEPS * BATCH / seconds for seconds in clock.seconds[1:]]


def main() -> None:
    """Runs every contender in turn, and prints images per second and ratios."""
    given(__doc__)
    contenders = {
        "zoo.run, one device": ["engine", {"strategy": "one_device"}],
        "bare loop, one device": ["bare", {"strategy": "one_device"}],
        "zoo.run, two devices": ["engine", TWO],
        "bare loop, two devices": ["bare", TWO],
    }
    best: dict[str, float] = {}
    for _ in range(ROUNDS):
        for label, call in contenders.items():
            print(f"  {label} …", file=sys.stderr, flush=True)
            # The fastest epoch: whatever else the machine does can only slow one down.
            best[label] = max(best.get(label, 0.0), *in_a_process(__file__, call)[0])
    for label, value in best.items():
        print(f"{label:<24} {value:8,.0f} images/s")
    for kind in ("one device", "two devices"):
        print(f"zoo.run / bare loop, {kind}: {best[f'zoo.run, {kind}'] / best[f'bare loop, {kind}']:.3f}")
    print(f"zoo.run, two devices / one: {best['zoo.run, two devices'] / best['zoo.run, one device']:.3f}")


if __name__ == "__main__":
    contest(globals(), main)
