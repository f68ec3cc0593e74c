# Edgewise's server, its worker and its MLflow server: one image, three commands (docs/containers.md).
#   docker build -t edgewise .
#   docker build -t edgewise --build-arg TORCH_PIP_ARGS="--index-url <address of PyTorch's wheels>" .

FROM python:3.11-slim-bookworm AS packages
# Where torch comes from, as options of pip: PyTorch has one index for the CPU and one for each CUDA. Without it torch
# comes from pip's own index, and on x86 several GB of CUDA with it: it works on a CPU all the same.
ARG TORCH_PIP_ARGS=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# An environment without pip: the last stage takes it whole, and cannot install anything into it.
RUN python -m venv --without-pip /opt/edgewise
COPY requirements.txt requirements-label-studio-ml.txt ./
# torch first and by itself, as in the Makefile. Its dependencies are pinned in requirements.txt, apart from CUDA's.
# hadolint ignore=SC2086,SC2046,DL3013
RUN pip --python /opt/edgewise/bin/python install $TORCH_PIP_ARGS $(grep '^torch==' requirements.txt)
# hadolint ignore=DL3013
RUN pip --python /opt/edgewise/bin/python install -r requirements.txt \
 && pip --python /opt/edgewise/bin/python install --no-deps -r requirements-label-studio-ml.txt
# C++ headers and packages' own tests: nobody compiles or tests in the last stage.
RUN find /opt/edgewise/lib -type d \( -path '*/torch/include' -o -path '*/pyarrow/include' -o -name tests \) \
      -not -path '*/numpy/*' -prune -exec rm -rf {} +

FROM python:3.11-slim-bookworm
RUN groupadd --system --gid 10001 edgewise \
 && useradd --system --uid 10001 --gid edgewise --no-create-home --home-dir /tmp edgewise \
 && install -d -o edgewise -g edgewise -m 0750 /data \
 && pip uninstall -q -y --root-user-action=ignore setuptools wheel pip
COPY --from=packages /opt/edgewise /opt/edgewise
WORKDIR /app
COPY . .
RUN rm requirements*.txt && /opt/edgewise/bin/python -m compileall -q . && chmod -R a+rX .
# /data holds all that is kept; /tmp is all that is written besides. So the root file system may be read-only.
ENV PATH=/opt/edgewise/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    HOST=0.0.0.0 PORT=9090 DATA_DIR=/data HF_HOME=/data/huggingface HOME=/tmp OMP_WAIT_POLICY=PASSIVE
USER 10001:10001
EXPOSE 9090
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=4 CMD ["python", "-c", \
  "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['PORT'] + '/health', timeout=4)"]
CMD ["python", "_wsgi.py"]
